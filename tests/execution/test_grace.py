"""Jobs with code that a worker does not know wait for a worker that knows it."""

from datetime import timedelta

import pytest
from django_delayed import RecordNotFound
from django_delayed.databases import DatabaseNow
from django_delayed.execution.outcomes import Discarded, Failed, Finished, Rescheduled, Snoozed
from django_delayed.models import DelayedJob, FailedAttempt
from django_delayed.signals import job_snoozed, job_started
from tests.blog import jobs
from tests.blog.jobs import DiscardedWithWhateverIsGone, Plain
from tests.blog.models import Post
from tests.blog.work import perform_next, write

pytestmark = pytest.mark.django_db

NEW = {"job": "tests.blog.jobs:NotYetWritten", "args": [], "kwargs": {}}
UNKNOWN = {
    "class": NEW,
    "module": NEW | {"job": "tests.blog.not_yet:Job"},
    "app": NEW | {"job": "not_yet.jobs:Job"},
    "kind of job": NEW | {"job": "not yet"},
    "version": NEW | {"v": 2},
    "parameter": NEW | {"job": "tests.blog.jobs:CleanUpJob", "kwargs": {"not_yet": 1}},
    "function": {"job": "call", "function": "tests.blog.jobs:not_yet", "args": [], "kwargs": {}},
    "method": {
        "job": "call",
        "target": {"@type": "model", "model": "blog.post"},
        "method": "not_yet",
        "args": [],
        "kwargs": {},
    },
    "model": NEW | {"job": "tests.blog.jobs:Plain", "args": [{"@type": "model", "model": "blog.not_yet"}]},
    "type": NEW | {"job": "tests.blog.jobs:Plain", "args": [{"@type": "not yet", "value": 1}]},
    "provider": NEW | {"job": "tests.blog.jobs:Plain", "context": {"not_yet": 1}},
}
# A type is known only when another process registers it, so that it is left out here.
CODE = {name: payload for name, payload in UNKNOWN.items() if name != "type"}


@pytest.fixture(autouse=True)
def grace(settings):
    """Set UNKNOWN_GRACE to ten minutes; gives the function that sets it."""

    def be(value=timedelta(minutes=10)):
        settings.DJANGO_DELAYED = {"UNKNOWN_GRACE": value}

    be()
    return be


@pytest.mark.parametrize("payload", UNKNOWN.values(), ids=UNKNOWN)
def test_a_job_that_its_worker_does_not_know_waits_and_spends_no_attempt(payload, caplog, diary):
    row = write(payload)
    _, outcome = perform_next()
    assert (type(outcome), outcome.wait) == (Snoozed, timedelta(seconds=30))
    row.refresh_from_db()
    assert (row.state, row.attempts, row.last_error) == ("scheduled", 0, "")
    assert not FailedAttempt.objects.exists()
    assert "The job waits for a worker that knows this code or type" in caplog.text
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert diary == []


@pytest.mark.parametrize("payload", CODE.values(), ids=CODE)
def test_it_fails_when_the_grace_period_after_its_enqueue_is_over(payload):
    row = write(payload)
    perform_next()
    DelayedJob.objects.update(created_at=DatabaseNow(plus=timedelta(minutes=-10)))
    DelayedJob.objects.run_now()
    assert isinstance(perform_next()[1], Failed)
    row.refresh_from_db()
    assert (row.state, row.attempts, row.error_class) == ("failed", 1, "UnknownCode")


def test_it_is_performed_as_soon_as_a_worker_knows_it(monkeypatch, diary):
    write(NEW)
    perform_next()
    monkeypatch.setattr(jobs, "NotYetWritten", jobs.Renamed, raising=False)
    DelayedJob.objects.run_now()
    assert isinstance(perform_next()[1], Finished)


def test_its_signals_are_those_of_a_snooze(heard):
    row = write(NEW)
    perform_next()
    [(started, *_), (signal, _, pk, what)] = heard
    assert (started, signal, pk, what["job"]) == (job_started, job_snoozed, row.pk, None)


def test_the_grace_period_comes_before_what_the_class_says(diary):
    write(UNKNOWN["parameter"] | {"job": "tests.blog.jobs:DiscardedWithWhateverIsGone"})
    assert isinstance(perform_next()[1], Snoozed)
    DelayedJob.objects.update(created_at=DatabaseNow(plus=timedelta(hours=-1)), run_at=DatabaseNow())
    assert isinstance(perform_next()[1], Discarded)


def test_a_job_with_a_missing_record_or_a_broken_payload_does_not_wait():
    post = Post.objects.create(title="x")
    Plain.perform_later(post)
    post.delete()
    _, outcome = perform_next()
    assert (type(outcome), type(outcome.exception)) == (Failed, RecordNotFound)
    for broken in ("no JSON", {"v": "two"}, {"job": 5}, {"job": "tests.blog.jobs:_x"}):
        write(broken)
        assert isinstance(perform_next()[1], Failed)


@pytest.mark.parametrize(("grace_period", "kind"), [(0, Failed), (60, Snoozed), (timedelta(days=1), Snoozed)])
def test_the_setting_says_how_long(grace, grace_period, kind):
    grace(grace_period)
    write(NEW)
    outcome = perform_next()[1]
    assert isinstance(outcome, kind)
    if kind is Snoozed:
        assert outcome.wait * 20 == (grace_period if grace_period != 60 else timedelta(seconds=60))


def test_a_deserialization_error_that_the_job_itself_raises_does_not_wait(monkeypatch):
    def perform(self, *args):
        raise jobs.DeserializationError

    monkeypatch.setattr(Plain, "perform", perform)
    Plain.perform_later()
    assert isinstance(perform_next()[1], Rescheduled)
    assert DiscardedWithWhateverIsGone.discard_on
