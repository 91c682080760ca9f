import json
from datetime import timedelta
from functools import partial
from itertools import count
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone
from django_delayed.models import DelayedJob, FailedAttempt, JobStat, WorkerProcess
from django_delayed.states import State
from tests.admin.pages import hidden_fields
from tests.language import english

__all__ = ["english"]

HOUR = timedelta(hours=1)
PAYLOAD = json.dumps(
    {
        "job": "django_delayed.calls.proxies:CallJob",
        "target": {"@type": "record", "model": "shop.post", "pk": 9, "db": "default"},
        "method": "send_to_twitter",
        "args": [3],
        "kwargs": {"y": 4},
        "language": "en",
        "timezone": "UTC",
    }
)
ERROR = """ConnectionError: the server hung up

Traceback (most recent call last):
  File "shop/twitter.py", line 30, in update
ConnectionError: the server hung up"""


@pytest.fixture
def job(db):
    """Write a job in this state."""
    numbers = count(1)

    def write(state=State.FAILED, **columns):
        now = timezone.now()
        error = {"last_error": ERROR, "error_class": "ConnectionError", "error_message": "the server hung up"}
        times = {
            State.SCHEDULED: {"run_at": now + HOUR},
            State.ENQUEUED: {"run_at": now - HOUR},
            State.RETRYING: {"run_at": now + HOUR, "attempts": 2, **error},
            State.RUNNING: {"run_at": now - HOUR, "attempts": 1, "locked_at": now, "locked_by": "w" * 32},
            State.FAILED: {"run_at": now - HOUR, "attempts": 25, "failed_at": now, **error},
            State.FINISHED: {"run_at": now - HOUR, "attempts": 1, "finished_at": now, "keep_for": HOUR},
        }
        given = {"name": "Post.send_to_twitter", "about": f"shop.post:{next(numbers)}", "payload": PAYLOAD}
        return DelayedJob.objects.create(**(given | {"created_at": now - HOUR} | times[state] | columns))

    return write


@pytest.fixture
def failed_attempt():
    """Write a failed attempt of a job."""

    def write(job, number=1, **columns):
        now = timezone.now()
        given = {"worker": "w" * 32, "started_at": now - HOUR, "ended_at": now, "error": ERROR}
        given |= {"error_class": "ConnectionError", "error_message": "the server hung up"}
        return FailedAttempt.objects.create(delayed_job=job, number=number, **(given | columns))

    return write


@pytest.fixture
def worker(db):
    """The worker that holds the running jobs."""
    now = timezone.now()
    return WorkerProcess.objects.create(
        id="w" * 32, hostname="web-2", pid=77, started_at=now, heartbeat_at=now
    )


@pytest.fixture
def minute(db):
    """Write the statistics of a worker for the minute that was this long ago."""
    now = timezone.now()

    def write(ago, **numbers):
        given = {"processed": 1, "failed": 0, "waited": 0.0, "ran": 0.0, "longest": 0.0}
        return JobStat.objects.create(id=JobStat.objects.count() + 1, minute=now - ago, **given | numbers)

    return write


@pytest.fixture
def staff(db, django_user_model):
    """Create a staff user who has only these permissions of django_delayed."""

    def create(*codenames):
        # A username has at most 150 characters.
        name = "-".join(codenames)[:150] or "nobody"
        user = django_user_model.objects.create_user(name, is_staff=True)
        of_ours = Permission.objects.filter(content_type__app_label="django_delayed")
        user.user_permissions.set(of_ours.filter(codename__in=codenames))
        return user

    return create


@pytest.fixture
def signed_in(client, staff):
    """Sign in a user with these permissions in the test client."""

    def sign_in(*codenames):
        client.force_login(staff(*codenames))
        return client

    return sign_in


@pytest.fixture
def operator(signed_in):
    """The test client, signed in as a user who may view jobs with their arguments, and make every move."""
    verbs = ("view", "view_arguments", "retry", "run_now", "adjust", "give_up", "discard", "cancel")
    of_schedules = ("view", "add", "change", "delete", "run_now", "pause")
    return signed_in(
        *(f"{verb}_delayedjob" for verb in verbs), *(f"{verb}_schedule" for verb in of_schedules)
    )


@pytest.fixture
def answer(operator):
    """Confirm on a confirmation page. Returns the response."""
    return lambda question: operator.post(question.wsgi_request.get_full_path(), hidden_fields(question))


@pytest.fixture
def rows():
    """The values of all rows in the database."""
    return lambda: list(DelayedJob.objects.order_by("pk").values())


def address(*args, of="changelist", site="admin", model="delayedjob", **query):
    path = reverse(f"{site}:django_delayed_{model}_{of}", args=args)
    return f"{path}?{urlencode(query)}" if query else path


@pytest.fixture
def page():
    """The address of a page about jobs, the list by default, with a query."""
    return address


@pytest.fixture
def queue_page():
    """The address of the overview, or of the view that pauses or resumes a queue."""
    return partial(address, model="pausedqueue")


@pytest.fixture
def cause_page():
    """The address of a page about causes, their list by default, with a query."""
    return partial(address, model="failuregroup")
