"""The jobs of workers that have ended or died."""

from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone
from django_delayed import enqueue_all
from django_delayed.execution.outcomes import decide_after_crash
from django_delayed.models import DelayedJob, WorkerProcess, WorkerProcessQuerySet
from django_delayed.signals import job_errored, job_failed
from django_delayed.states import DelayedJobQuerySet
from django_delayed.worker import recovery
from django_delayed.worker.recovery import recover_stale, release_and_deregister, release_and_exit
from tests.blog.jobs import Plain

W1, W2 = "1" * 32, "2" * 32
LEASE = timedelta(seconds=60)
NOW = timezone.now()

pytestmark = pytest.mark.django_db


@pytest.fixture
def heard():
    """The signals about errors: which, and the id of the row."""
    said = []

    def hear(signal, delayed_job, **_):
        said.append((signal, delayed_job.pk))

    for signal in (job_errored, job_failed):
        signal.connect(hear)
    yield said
    for signal in (job_errored, job_failed):
        signal.disconnect(hear)


def worker(id=W1, age=timedelta(0)):
    return WorkerProcess.objects.create(
        id=id, hostname="host", pid=1, started_at=NOW, heartbeat_at=timezone.now() - age
    )


def claim(count, worker=W1, started=0):
    """Claim so many jobs at once, of which the first ones have started."""
    enqueue_all([Plain(number) for number in range(count)])
    rows = DelayedJob.objects.claim(worker, max(count, 2))
    DelayedJob.objects.filter(pk__in=[row.pk for row in rows[:started]]).update(started_at=timezone.now())
    return rows


def states():
    rows = DelayedJob.objects.order_by("pk")
    return [(row.state, row.attempts, row.crashes, row.locked_by) for row in rows]


CRASHED, RELEASED = ("retrying", 1, 1, ""), ("enqueued", 0, 0, "")


def test_what_a_stale_worker_had_started_has_crashed_and_the_rest_is_released(heard):
    worker(age=2 * LEASE)
    first, *_ = claim(3, started=1)
    assert recover_stale(LEASE) == 1
    assert states() == [CRASHED, RELEASED, RELEASED]
    assert heard == [(job_errored, first.pk)]
    assert not WorkerProcess.objects.exists()


def test_a_worker_whose_heartbeat_is_younger_than_a_lease_keeps_its_jobs():
    worker(age=LEASE / 2)
    claim(2, started=1)
    assert recover_stale(LEASE) == 0
    assert [state for state, *_ in states()] == ["running", "running"]


def test_a_worker_that_sends_a_heartbeat_at_the_last_moment_stays(monkeypatch):
    worker(age=2 * LEASE)
    claim(1, started=1)
    stale, asked = WorkerProcessQuerySet.stale, []

    def send_a_heartbeat_meanwhile(queryset, lease):
        asked.append(lease)
        found = stale(queryset, lease)
        if len(asked) == 1:
            found = list(found)
            WorkerProcess.objects.update(heartbeat_at=timezone.now())
        return found

    monkeypatch.setattr(WorkerProcessQuerySet, "stale", send_a_heartbeat_meanwhile)
    assert recover_stale(LEASE) == 0
    assert len(asked) == 2
    assert [state for state, *_ in states()] == ["running"]
    assert WorkerProcess.objects.exists()


def test_a_row_whose_holder_has_no_row_is_recovered_after_a_lease(heard):
    claim(2, started=1)
    assert recover_stale(LEASE) == 0
    assert [state for state, *_ in states()] == ["running", "running"]
    DelayedJob.objects.update(locked_at=timezone.now() - 2 * LEASE)
    assert recover_stale(LEASE) == 0
    assert states() == [CRASHED, RELEASED]
    assert len(heard) == 1


@pytest.mark.parametrize("registered", [True, False])
def test_a_recovery_that_breaks_off_changes_nothing_and_is_made_by_the_next(heard, monkeypatch, registered):
    if registered:
        worker(age=2 * LEASE)
    claim(2, started=1)
    DelayedJob.objects.update(locked_at=timezone.now() - 2 * LEASE)
    before = list(DelayedJob.objects.values())
    with monkeypatch.context() as broken:
        broken.setattr(DelayedJobQuerySet, "release", lambda *args: break_off())
        with pytest.raises(OperationalError):
            recover_stale(LEASE)
    assert list(DelayedJob.objects.values()) == before
    assert heard == []
    assert WorkerProcess.objects.exists() is registered
    recover_stale(LEASE)
    assert states() == [CRASHED, RELEASED]
    assert len(heard) == 1


def break_off():
    raise OperationalError("cut off")


def test_a_killer_is_given_up_and_announced_as_failed(heard):
    worker(age=2 * LEASE)
    [row] = claim(1, started=1)
    DelayedJob.objects.update(crashes=2)
    recover_stale(LEASE)
    assert [state for state, *_ in states()] == ["failed"]
    assert heard == [(job_errored, row.pk), (job_failed, row.pk)]


def test_the_current_job_of_a_worker_that_ended_is_decided_and_the_rest_released(heard):
    worker()
    other = worker(W2)
    second = claim(3, started=1)[1]
    claim(1, worker=W2)
    release_and_deregister(W1, second.pk, lambda row: decide_after_crash(row, "it fell"))
    assert states() == [RELEASED, CRASHED, RELEASED, ("running", 1, 0, W2)]
    assert heard == [(job_errored, second.pk)]
    assert list(WorkerProcess.objects.all()) == [other]


def test_without_a_decision_the_current_job_is_released_too(heard):
    worker()
    first, _ = claim(2, started=1)
    release_and_deregister(W1, first.pk)
    assert states() == [RELEASED, RELEASED]
    assert heard == []


class Ended(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("away", [False, True])
def test_a_process_that_ends_itself_releases_first_and_ends_with_1_in_any_case(monkeypatch, heard, away):
    worker()
    first, _ = claim(2, started=1)
    codes = []

    def end(code):
        codes.append(code)
        raise Ended

    monkeypatch.setattr(recovery.os, "_exit", end)
    if away:
        monkeypatch.setattr(DelayedJobQuerySet, "release", lambda *args: break_off())
    with pytest.raises(Ended):
        release_and_exit(W1, first.pk, lambda row: decide_after_crash(row, "it fell"))
    assert codes == [1]
    assert heard == [(job_errored, first.pk)]
    assert states()[0] == CRASHED
    assert (states()[1] == RELEASED) is not away
