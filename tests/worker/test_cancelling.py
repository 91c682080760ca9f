"""Jobs of a worker that were asked to end, as the process that watches the worker sees them."""

import logging

import pytest
from django.utils import timezone
from django_delayed.execution.deaths import decide_after_crash
from django_delayed.execution.outcomes import Cancelled, Released
from django_delayed.models import DelayedJob, Verb, WorkerRequest
from django_delayed.operations import CANCEL
from django_delayed.worker import cancelling
from django_delayed.worker.activity import Activity
from django_delayed.worker.cancelling import CancelledJobs, cancelled_by
from django_delayed.worker.requests import read_requests

pytestmark = pytest.mark.django_db

WORKER, TOKEN = "1" * 32, 5


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock of the module; it is called to let so many seconds pass."""
    now = [1000.0]
    monkeypatch.setattr(cancelling.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


@pytest.fixture
def slots():
    activity = Activity(slots=2)
    for slot in activity.slots:
        slot.claim(TOKEN)
    yield activity.slots
    activity.close()


@pytest.fixture
def row():
    now = timezone.now()
    held = {"locked_at": now, "locked_by": WORKER, "lock_token": TOKEN, "attempts": 1}
    return DelayedJob.objects.create(name="a job", payload="{}", **held)


def request(row, by="ann", token=TOKEN):
    return WorkerRequest.objects.create(
        worker=WORKER,
        verb=Verb.CANCEL,
        delayed_job_id=row.pk,
        lock_token=token,
        requested_at=timezone.now(),
        requested_by=by,
    )


def begin(slot, row):
    slot.begin(row.pk, timezone.timedelta(hours=4))


def test_a_job_is_asked_once_it_has_begun_and_once_only(slots, row, caplog, clock):
    caplog.set_level(logging.INFO)
    jobs, asked = CancelledJobs(slots), request(row, "a\nb")
    jobs.ask(asked)
    assert not slots[1].is_cancelled(row.pk)
    begin(slots[1], row)
    for _ in range(2):
        jobs.ask(asked)
        clock(20)
    assert slots[1].is_cancelled(row.pk)
    assert not slots[0].is_cancelled(row.pk)
    assert caplog.messages == [f"Job {row.pk} is asked to end by a\\nb"]
    # It is overdue 25 s after it was first asked.
    assert [job.id for job in jobs.overdue()] == [row.pk]


def test_a_request_is_about_one_claim_and_no_other(slots, row):
    begin(slots[0], row)
    jobs = CancelledJobs(slots)
    jobs.ask(request(row, token=TOKEN + 1))
    assert not slots[0].is_cancelled(row.pk)
    assert jobs.decision(None) is None


def test_a_job_is_overdue_after_the_shutdown_timeout_unless_it_has_ended(slots, row, clock):
    jobs = CancelledJobs(slots)
    begin(slots[0], row)
    jobs.ask(request(row))
    clock(24)
    assert jobs.overdue() == []
    clock(2)
    assert [job.id for job in jobs.overdue()] == [row.pk]
    slots[0].performed()
    assert jobs.overdue() == []
    slots[0].end()
    assert jobs.overdue() == []
    # The same row again, by another claim.
    slots[0].claim(TOKEN + 1)
    begin(slots[0], row)
    assert jobs.overdue() == []


def test_a_job_that_was_asked_is_cancelled_and_the_others_are_decided_as_usual(slots, row, clock):
    other = DelayedJob.objects.create(name="b", payload="{}", lock_token=TOKEN, locked_by=WORKER)
    jobs = CancelledJobs(slots)
    begin(slots[0], row)
    assert jobs.decision(None) is None
    jobs.ask(request(row))
    assert jobs.decision(None)(row).error.message == "Ended by ann."
    assert jobs.decision(None)(other) == Released()
    crashed = jobs.decision(lambda row: decide_after_crash(row, "it died"))(other)
    assert "it died" in crashed.error.message
    clock(26)
    jobs.overdue()
    outcome = jobs.decision(None)(row)
    assert isinstance(outcome, Cancelled)
    assert outcome.error.message == "Ended by ann, and killed as it did not stop within 25 s."


def test_the_operator_is_known_by_the_claim(row):
    assert cancelled_by(row) == ""
    request(row, "bob", token=TOKEN + 1)
    assert cancelled_by(row) == ""
    request(row, "ann")
    request(row, "cleo")
    assert cancelled_by(row) == "ann"


def test_a_request_is_carried_out_again_and_again_until_the_job_has_ended(row):
    carried_out, asked = [], request(row)
    request(row, token=TOKEN + 1)
    for _ in range(2):
        read_requests([WORKER], lambda request: carried_out.append(request.pk))
    assert carried_out == [asked.pk] * 2
    assert WorkerRequest.objects.get() == asked
    assert not CANCEL.ids(DelayedJob.objects.all())
    DelayedJob.objects.update(failed_at=timezone.now(), locked_at=None)
    read_requests([WORKER], lambda request: carried_out.append(request.pk))
    assert len(carried_out) == 2
    assert not WorkerRequest.objects.exists()
