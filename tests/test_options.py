import functools
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from django.core.mail import EmailMessage
from django.utils import timezone as django_timezone
from django_delayed import Job, delay, enqueue, enqueue_all
from django_delayed.execution.outcomes import Failed
from django_delayed.mail import deliver_later, send_mail
from django_delayed.models import DelayedJob
from django_delayed.options import check_options, choose_options, evaluate
from tests.blog.jobs import CleanUpJob, Plain, resize
from tests.blog.models import Post
from tests.blog.work import perform_next, write
from tests.playground.jobs import Sleepy

TOMORROW = datetime(2100, 1, 1, tzinfo=UTC)


def test_the_options_are_queue_priority_run_at_wait_max_attempts_and_max_run_time():
    given = {"queue": "mail", "priority": -5, "run_at": TOMORROW, "max_attempts": 1}
    assert check_options(given) == given
    assert check_options({"max_run_time": 90}) == {"max_run_time": timedelta(seconds=90)}
    assert check_options({"wait": 90}) == {"wait": timedelta(seconds=90)}
    assert check_options({"wait": 0.5}) == {"wait": timedelta(milliseconds=500)}
    assert check_options({"wait": timedelta(weeks=1)}) == {"wait": timedelta(weeks=1)}


def test_wait_until_is_another_spelling_of_run_at():
    assert check_options({"wait_until": TOMORROW}) == {"run_at": TOMORROW}
    with pytest.raises(TypeError, match="another spelling"):
        check_options({"wait_until": TOMORROW, "run_at": TOMORROW})


def test_none_counts_as_not_given():
    assert check_options(dict.fromkeys(["queue", "priority", "run_at", "wait", "wait_until"])) == {}


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"prio": 1}, TypeError, "Unknown option 'prio'; a job has queue, priority, run_at, wait"),
        ({"prio": None}, TypeError, "Unknown option 'prio'"),
        ({"wait": 1, "run_at": TOMORROW}, TypeError, "run_at or wait, not both"),
        ({"wait": 1, "wait_until": TOMORROW}, TypeError, "run_at or wait, not both"),
        ({"wait": True}, TypeError, "timedelta or a number of seconds"),
        ({"wait": "1h"}, TypeError, "timedelta or a number of seconds"),
        ({"wait": float("nan")}, ValueError, "out of range"),
        ({"wait": float("inf")}, ValueError, "out of range"),
        ({"wait": 10**30}, ValueError, "out of range"),
        ({"wait": timedelta.max}, ValueError, "beyond the year 9998"),
        ({"run_at": date(2100, 1, 1)}, TypeError, r"Write datetime\.combine"),
        ({"run_at": "2100-01-01"}, TypeError, "must be a datetime"),
        ({"run_at": timedelta(1)}, TypeError, "must be a datetime"),
        ({"run_at": datetime(2100, 1, 1)}, ValueError, "make_aware"),
        ({"run_at": datetime(9999, 1, 1, tzinfo=UTC)}, ValueError, "out of range"),
        ({"run_at": datetime(999, 1, 1, tzinfo=UTC)}, ValueError, "out of range"),
        ({"queue": ""}, ValueError, "1 to 255 printable"),
        ({"queue": "a\nb"}, ValueError, "1 to 255 printable"),
        ({"queue": "a\0"}, ValueError, "1 to 255 printable"),
        ({"queue": "mail,slow"}, ValueError, "no comma, and no space at its ends: 'mail,slow'"),
        ({"queue": " mail"}, ValueError, "no comma, and no space at its ends"),
        ({"queue": "mail "}, ValueError, "no comma, and no space at its ends"),
        ({"queue": " "}, ValueError, "no comma, and no space at its ends"),
        ({"queue": "mail_*"}, ValueError, r"none of \* \? \[ and no ! at its start.*: 'mail_\*'"),
        ({"queue": "mail?"}, ValueError, r"none of \* \? \["),
        ({"queue": "mail[1]"}, ValueError, r"none of \* \? \["),
        ({"queue": "!mail"}, ValueError, "no ! at its start"),
        ({"queue": "\udc80"}, ValueError, "1 to 255 printable"),
        ({"queue": "q" * 256}, ValueError, "1 to 255 printable"),
        ({"queue": b"mail"}, TypeError, "must be a string"),
        ({"queue": 3}, TypeError, "must be a string"),
        ({"priority": "high"}, TypeError, "whole number"),
        ({"priority": 1.0}, TypeError, "whole number"),
        ({"priority": True}, TypeError, "whole number"),
        ({"priority": 2**31}, ValueError, "32 bits"),
        ({"max_attempts": 0}, ValueError, "max_attempts must be at least 1, got 0"),
        ({"max_attempts": -1}, ValueError, "at least 1"),
        ({"max_attempts": True}, TypeError, "whole number"),
        ({"max_attempts": 2.0}, TypeError, "whole number"),
        ({"max_attempts": 2**31}, ValueError, "32 bits"),
        ({"max_run_time": 0}, ValueError, "max_run_time must be longer than 0 seconds"),
        ({"max_run_time": -1}, ValueError, "must not be negative"),
        ({"max_run_time": "1h"}, TypeError, "timedelta or a number of seconds"),
        ({"max_run_time": timedelta(days=40_000)}, ValueError, "at most 36,525 days"),
    ],
)
def test_a_wrong_option_is_an_error_where_the_call_is_made(options, error, sentence):
    with pytest.raises(error, match=sentence):
        check_options(options)
    with pytest.raises(error, match=sentence):
        delay(Post, **options)
    with pytest.raises(error, match=sentence):
        Post.delay(**options)
    with pytest.raises(error, match=sentence):
        Plain.set(**options)
    with pytest.raises(error, match=sentence):
        enqueue(Plain(), **options)


def test_an_aware_time_is_stored_naive_without_use_tz(settings):
    settings.USE_TZ = False
    settings.TIME_ZONE = "Asia/Tokyo"
    noon = datetime(2100, 1, 1, 12, tzinfo=UTC)
    with django_timezone.override("Asia/Tokyo"):
        assert check_options({"run_at": noon}) == {"run_at": datetime(2100, 1, 1, 21)}
    assert check_options({"run_at": datetime(2100, 1, 1)}) == {"run_at": datetime(2100, 1, 1)}


# Functions


class Counter:
    def __init__(self):
        self.calls = []

    def with_it(self, post):
        self.calls.append(post)
        return "called with it"

    def without(self):
        self.calls.append(None)
        return "called"

    def __call__(self, post):
        return "an object that is called"


def optional(post=None):
    return post or "nothing"


def rest(*posts, **kwargs):
    return posts or "nothing"


FUNCTIONS = [
    (lambda post: post, "it"),
    (lambda post, /: post, "it"),
    (lambda post, more=1: post, "it"),
    (lambda: "nothing", "nothing"),
    (optional, "nothing"),
    (rest, "nothing"),
    (functools.partial(optional, "bound"), "bound"),
    (functools.partial(lambda prefix, post: prefix + post, "with "), "with it"),
    (functools.partial(lambda post: post, post="given"), "given"),
    (Counter().with_it, "called with it"),
    (Counter().without, "called"),
    (Counter(), "an object that is called"),
    ("no function", "no function"),
    (str, ""),
]


@pytest.mark.parametrize(("function", "value"), FUNCTIONS, ids=range(len(FUNCTIONS)))
def test_a_function_gets_the_instance_when_it_requires_a_parameter(function, value):
    assert evaluate(function, "it") == value


def test_a_function_of_c_without_a_signature_is_called_without_arguments():
    assert evaluate(dict, "it") == {}
    assert evaluate(date.today, "it") == date.today()
    assert evaluate(object, "it").__class__ is object


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("queue", "", ValueError),
        ("priority", "high", TypeError),
        ("run_at", date(2100, 1, 1), TypeError),
        ("run_at", datetime(2100, 1, 1), ValueError),
        ("wait", "1h", TypeError),
        ("max_attempts", 0, ValueError),
        ("max_run_time", 0, ValueError),
    ],
)
def test_what_a_function_returns_is_checked_like_a_literal(name, value, error):
    with pytest.raises(error, match=name):
        choose_options(({name: lambda: value},), None)


def test_a_function_that_returns_a_date_for_a_time_is_an_error_at_the_call():
    with pytest.raises(TypeError, match=r"datetime\.combine"):
        choose_options(({"run_at": date.today},), None)


def test_functions_that_conflict_are_an_error_at_the_call():
    with pytest.raises(TypeError, match="not both"):
        check_options({"wait": lambda: 1, "run_at": lambda: TOMORROW})


# Layers


def test_the_uppermost_layer_that_gives_an_option_wins():
    layers = ({"queue": "low", "priority": 1}, {"queue": "high"}, {})
    assert choose_options(layers, None) == {"queue": "high", "priority": 1}


def test_a_function_that_returns_none_leaves_the_option_to_the_layer_below():
    layers = ({"queue": "low", "wait": timedelta(1)}, {"queue": lambda: None, "run_at": lambda: None})
    assert choose_options(layers, None) == {"queue": "low", "wait": timedelta(1)}


def test_a_wait_above_replaces_a_run_at_below_and_the_other_way_round():
    assert choose_options(({"run_at": TOMORROW}, {"wait": timedelta(1)}), None) == {"wait": timedelta(1)}
    assert choose_options(({"wait": timedelta(1)}, {"run_at": TOMORROW}), None) == {"run_at": TOMORROW}


def test_a_function_is_called_only_where_its_option_counts():
    def broken():
        raise AssertionError("not asked for")

    layers = ({"queue": broken, "run_at": broken}, {"queue": "given", "wait": timedelta(0)})
    assert choose_options(layers, None) == {"queue": "given", "wait": timedelta(0)}


@pytest.mark.django_db
def test_a_function_is_called_at_each_call():
    counter = Counter()
    post = Post.objects.create(title="a")
    proxy = post.delay(queue=counter.with_it)
    assert [proxy.send_to_twitter().queue, proxy.send_to_twitter().queue] == ["called with it"] * 2
    assert counter.calls == [post, post]


@pytest.mark.django_db
def test_a_function_of_a_class_method_gets_the_class_and_that_of_a_job_the_job():
    seen = []
    Post.delay(queue=lambda it: seen.append(it) or "a").rebuild()
    job = Plain(1)
    enqueue(job, queue=lambda it: seen.append(it) or "a")
    assert seen == [Post, job]


class Layered(CleanUpJob):
    @staticmethod
    def queue(job):
        return f"queue-{job.kwargs.get('dry_run')}"


class Own(CleanUpJob):
    def queue(self):
        return "own"

    priority = staticmethod(lambda: 7)


@pytest.mark.django_db
def test_a_class_may_give_its_options_as_functions_too():
    post = Post.objects.create(title="a")
    for job, queue, priority in [(Layered(post, dry_run=True), "queue-True", 10), (Own(post), "own", 7)]:
        with pytest.MonkeyPatch.context() as patch:  # no row may name a class of this module
            patch.setattr(
                "django_delayed.serialization.names.name_of", lambda thing: "tests.blog.jobs:CleanUpJob"
            )
            row = enqueue(job)
        assert (row.queue, row.priority) == (queue, priority)


@pytest.mark.django_db
def test_the_call_wins_over_set_over_the_class_over_the_queue_over_the_defaults(settings):
    settings.DJANGO_DELAYED = {
        "QUEUE_ATTRIBUTES": {"mail": {"priority": -10}, "mute": {}},
        "DEFAULT_QUEUE": "usual",
        "DEFAULT_PRIORITY": 3,
    }
    post = Post.objects.create(title="a")

    def lane(row):
        return row.queue, row.priority

    assert lane(Plain.perform_later()) == ("usual", 3)
    assert lane(Plain.set(queue="mail").perform_later()) == ("mail", -10)
    assert lane(Plain.set(queue="mute").perform_later()) == ("mute", 3)
    assert lane(Plain.set(queue="mail", priority=0).perform_later()) == ("mail", 0)
    assert lane(CleanUpJob.perform_later(post)) == ("maintenance", 10)
    assert lane(CleanUpJob.set(queue="mail").perform_later(post)) == ("mail", 10)
    assert lane(CleanUpJob.set(queue="a", priority=1).set(queue="b").perform_later(post)) == ("b", 1)
    assert lane(CleanUpJob.set(queue="a").set(queue=None).perform_later(post)) == ("a", 10)
    job = CleanUpJob(post)
    job.options = ({"queue": "set"},)
    assert lane(enqueue(job, queue="call")) == ("call", 10)
    assert lane(post.bare()) == ("usual", 3)
    assert lane(post.reindex()) == ("index", 20)
    assert lane(post.delay(priority=1).reindex()) == ("index", 1)
    assert lane(post.delay(queue="mail").reindex()) == ("mail", 20)


def limits(row):
    """How often the job of a row is tried, and for how many seconds it may run, as a worker loads it."""
    return row.max_attempts, Job.load(row, lambda block: None).run_time.total_seconds()


@pytest.mark.django_db
def test_the_limits_of_a_job_are_chosen_like_its_queue_and_priority(settings):
    settings.DJANGO_DELAYED = {
        "QUEUE_ATTRIBUTES": {"mail": {"max_attempts": 5, "max_run_time": 50}, "mute": {}},
        "MAX_ATTEMPTS": 9,
        "MAX_RUN_TIME": 90,
    }
    post = Post.objects.create(title="a")
    assert limits(Plain.perform_later()) == (9, 90)
    assert limits(Plain.set(queue="mute").perform_later()) == (9, 90)
    assert limits(Plain.set(queue="mail").perform_later()) == (5, 50)
    assert limits(Plain.set(queue="mail", max_attempts=1).perform_later()) == (1, 50)
    assert limits(Plain.set(queue="mail", max_run_time=1.5).perform_later()) == (5, 1.5)
    assert limits(CleanUpJob.set(queue="mail").perform_later(post)) == (8, 300)
    assert limits(CleanUpJob.set(max_attempts=1, max_run_time=timedelta(hours=1)).perform_later(post)) == (
        1,
        3600,
    )
    assert limits(CleanUpJob.set(max_attempts=1).set(max_attempts=2).perform_later(post)) == (2, 300)
    assert limits(enqueue(CleanUpJob(post), max_attempts=3, max_run_time=3)) == (3, 3)
    assert [limits(row) for row in enqueue_all([Plain(), Plain()], max_attempts=4)] == [(4, 90)] * 2


@pytest.mark.django_db
def test_calls_and_mails_have_limits_too():
    post = Post.objects.create(title="a")
    given = {"max_attempts": 2, "max_run_time": 20}
    message = EmailMessage("Hello", "", "a@example.com", ["b@example.com"])
    assert limits(post.delay(**given).send_to_twitter()) == (2, 20)
    assert limits(Post.delay(**given).rebuild()) == (2, 20)
    assert limits(delay(resize, **given)("a.png")) == (2, 20)
    assert limits(post.delay(**given).reindex()) == (2, 20)
    assert limits(post.fragile()) == (1, 10)
    assert limits(post.delay(max_attempts=2).fragile()) == (2, 10)
    assert limits(post.delay(max_attempts=lambda it: it.pk + 7).send_to_twitter())[0] == post.pk + 7
    assert limits(deliver_later(message, **given)) == (2, 20)
    assert limits(send_mail("Hello", "", None, ["b@example.com"], **given)) == (2, 20)


@pytest.mark.django_db
def test_a_worker_stops_a_job_at_the_max_run_time_of_its_call(settings):
    settings.DJANGO_DELAYED = {"TRUSTED_MODULES": ["tests.playground"]}
    Sleepy.set(max_run_time=0.05, max_attempts=1).perform_later(os.devnull, "begun", 30)
    outcome = perform_next()[1]
    assert isinstance(outcome, Failed)
    assert outcome.error.message == "Sleepy ran longer than its max_run_time of 0.05 s."


@pytest.mark.parametrize("written", ["soon", -1, [], {"@type": "timedelta"}])
@pytest.mark.django_db
def test_an_invalid_max_run_time_in_a_payload_fails_only_that_job(written):
    write({"job": "tests.blog.jobs:Plain", "args": [], "kwargs": {}, "max_run_time": written}, max_attempts=1)
    assert isinstance(perform_next()[1], Failed)


@pytest.mark.django_db
def test_a_wait_at_the_call_replaces_the_run_at_of_the_method():
    post = Post.objects.create(title="a")
    assert post.reindex().run_at == Post.publish_at
    assert post.delay(wait=0).reindex().run_at < Post.publish_at
    assert post.delay(run_at=TOMORROW).reindex().run_at == TOMORROW


@pytest.mark.django_db
def test_wait_is_counted_by_the_clock_of_the_database():
    row = DelayedJob.objects.get(pk=Plain.set(wait=timedelta(weeks=1)).perform_later().pk)
    assert row.run_at - row.created_at == timedelta(weeks=1)
    assert row in DelayedJob.objects.scheduled()
    assert Plain.perform_later() in DelayedJob.objects.enqueued()


@pytest.mark.django_db
def test_run_at_keeps_its_moment_in_every_zone():
    moment = datetime(2100, 6, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=-7)))
    row = Plain.set(wait_until=moment).perform_later()
    assert row.run_at == moment
    assert DelayedJob.objects.get(pk=row.pk).run_at == moment


WITHOUT_ZONES = """
import django
django.setup()
from datetime import UTC, datetime, timedelta
from django_delayed.models import DelayedJob
from tests.blog.jobs import Plain

now, hour = datetime.now(), timedelta(hours=1)
rows = [
    Plain.perform_later(),
    Plain.set(wait=3 * hour).perform_later(),
    Plain.set(run_at=now - 2 * hour).perform_later(),
    Plain.set(run_at=now + 2 * hour).perform_later(),
    Plain.set(run_at=datetime.now(UTC) - 2 * hour).perform_later(),
    Plain.set(run_at=datetime.now(UTC) + 2 * hour).perform_later(),
]
stored = DelayedJob.objects.in_bulk()
print([stored[row.pk].state.value for row in rows])
print([(stored[row.pk].run_at - now + hour / 2) // hour for row in rows])
print(sorted(row.pk - rows[0].pk for row in DelayedJob.objects.ready()))
"""


def test_without_use_tz_every_time_is_the_local_one(tmp_path, child_environment):
    (tmp_path / "without_zones.py").write_text(
        "from tests.settings import *\nUSE_TZ = False\nTIME_ZONE = 'Asia/Tokyo'\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", WITHOUT_ZONES],
        env={
            **child_environment,
            "DJANGO_SETTINGS_MODULE": "without_zones",
            "PYTHONPATH": f"{tmp_path}:{child_environment['PYTHONPATH']}",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.stderr == ""
    states, hours, ready = process.stdout.splitlines()
    assert states == "['enqueued', 'scheduled', 'enqueued', 'scheduled', 'enqueued', 'scheduled']"
    assert hours == "[0, 3, -2, 2, -2, 2]"
    assert ready == "[0, 2, 4]"


@pytest.mark.parametrize("wait", [timedelta(microseconds=-1), -1, -0.5, timedelta(days=-3650)])
def test_a_negative_wait_means_now(wait):
    assert check_options({"wait": wait}) == {"wait": timedelta(0)}
