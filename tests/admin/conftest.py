import json
from datetime import timedelta
from itertools import count
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone, translation
from django_delayed.models import DelayedJob, FailedAttempt
from django_delayed.states import State

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


@pytest.fixture(autouse=True)
def english():
    """A request of the test client leaves its language behind in this thread."""
    with translation.override("en"):
        yield


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
    """Write down a failed attempt of a job."""

    def write(job, number=1, **columns):
        now = timezone.now()
        given = {"worker": "w" * 32, "started_at": now - HOUR, "ended_at": now, "error": ERROR}
        given |= {"error_class": "ConnectionError", "error_message": "the server hung up"}
        return FailedAttempt.objects.create(delayed_job=job, number=number, **(given | columns))

    return write


@pytest.fixture
def staff(db, django_user_model):
    """A member of the staff who may do these things with delayed jobs, and nothing else."""

    def create(*codenames):
        name = "-".join(codenames) or "nobody"
        user = django_user_model.objects.create_user(name, is_staff=True)
        of_ours = Permission.objects.filter(content_type__app_label="django_delayed")
        user.user_permissions.set(of_ours.filter(codename__in=codenames))
        return user

    return create


@pytest.fixture
def operator(client, staff):
    """The test client, signed in as somebody who may view, with arguments, and make every move."""
    verbs = ("view", "view_arguments", "retry", "run_now", "discard")
    client.force_login(staff(*(f"{verb}_delayedjob" for verb in verbs)))
    return client


@pytest.fixture
def page():
    """The address of a page about jobs, the list by default, with a query."""

    def address(*args, of="changelist", site="admin", **query):
        path = reverse(f"{site}:django_delayed_delayedjob_{of}", args=args)
        return f"{path}?{urlencode(query)}" if query else path

    return address
