"""The jobs of workers that have ended or died."""

from datetime import timedelta
from functools import partial

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from django_delayed import enqueue_all
from django_delayed.execution.deaths import decide_after_crash, decide_after_death
from django_delayed.jobs.results import RESULT
from django_delayed.models import (
    DelayedJob,
    FailedAttempt,
    Verb,
    WorkerProcess,
    WorkerProcessQuerySet,
    WorkerRequest,
    all_attempts,
    ask_workers,
)
from django_delayed.signals import job_errored, job_failed
from django_delayed.states import DelayedJobQuerySet
from django_delayed.worker import recovery
from django_delayed.worker.ledger import Unsettled
from django_delayed.worker.recovery import (
    recover_stale,
    release_and_deregister,
    release_and_exit,
    time_out,
)
from django_delayed.worker.slot import Current
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
    """Claim so many jobs at once; the first `started` of them have started."""
    enqueue_all([Plain(number) for number in range(count)])
    rows = DelayedJob.objects.claim(worker, max(count, 2))
    DelayedJob.objects.filter(pk__in=[row.pk for row in rows[:started]]).update(started_at=timezone.now())
    return rows


def states():
    rows = DelayedJob.objects.order_by("pk")
    return [(row.state, row.attempts, row.crashes, row.locked_by) for row in rows]


CRASHED, RELEASED = ("retrying", 1, 1, ""), ("enqueued", 0, 0, "")


def test_jobs_that_a_stale_worker_had_started_have_crashed_and_the_others_are_released(heard):
    worker(age=2 * LEASE)
    first, *_ = claim(3, started=1)
    assert recover_stale() == 1
    assert states() == [CRASHED, RELEASED, RELEASED]
    assert heard == [(job_errored, first.pk)]
    assert not WorkerProcess.objects.exists()


def test_the_attempt_of_a_job_whose_host_died_names_that_host():
    other_host = WorkerProcess.objects.create(
        id=W1, hostname="web-2", pid=1, started_at=NOW, heartbeat_at=NOW - 2 * LEASE
    )
    claim(1, started=1)
    recover_stale()
    claim(1, worker=W2, started=1)  # its worker never wrote its own row
    DelayedJob.objects.update(locked_at=NOW - 2 * LEASE)
    recover_stale()
    hosts = list(FailedAttempt.objects.order_by("pk").values_list("worker", "hostname"))
    assert hosts == [(other_host.pk, "web-2"), (W2, ""), (W2, "")][: len(hosts)]
    assert len(hosts) > 1


def test_the_attempt_of_a_suspect_keeps_its_host():
    worker(age=2 * LEASE)
    [row, _] = claim(2, started=2)
    all_attempts().create(delayed_job=row, number=1, ended_at=NOW, error="x", hostname="web-3")
    recover_stale()
    assert FailedAttempt.objects.get().hostname == "web-3"


def test_jobs_that_a_stale_worker_with_threads_had_started_are_suspected_and_the_others_are_released(
    heard, caplog
):
    worker(age=2 * LEASE)
    worker(W2, age=2 * LEASE)
    rows = claim(3, started=2)
    claim(1, worker=W2, started=1)
    assert recover_stale() == 2
    assert states() == [RELEASED, RELEASED, RELEASED, CRASHED]
    assert [row.runs_alone for row in DelayedJob.objects.order_by("pk")] == [True, True, False, True]
    assert len(heard) == 1
    why = "its worker's process died in it or in another job; it runs alone next"
    assert [line for line in caplog.messages if why in line] == [f"{row}: {why}" for row in rows[:2]]


def test_suspects_are_those_of_one_worker():
    for id in (W1, W2):
        claim(1, worker=id, started=1)
    DelayedJob.objects.update(locked_at=timezone.now() - 2 * LEASE)
    assert recover_stale() == 0
    assert states() == [CRASHED, CRASHED]


def test_a_worker_whose_heartbeat_is_younger_than_a_lease_keeps_its_jobs():
    worker(age=LEASE / 2)
    claim(2, started=1)
    assert recover_stale() == 0
    assert [state for state, *_ in states()] == ["running", "running"]


def test_a_worker_that_sends_a_heartbeat_at_the_last_moment_stays(monkeypatch):
    worker(age=2 * LEASE)
    claim(1, started=1)
    stale, asked = WorkerProcessQuerySet.stale, []

    def send_a_heartbeat_meanwhile(queryset, lease):
        asked.append(lease)
        found = stale(queryset, lease)
        # The first call only asks whether there is any.
        if len(asked) == 2:
            found = list(found)
            WorkerProcess.objects.update(heartbeat_at=timezone.now())
        return found

    monkeypatch.setattr(WorkerProcessQuerySet, "stale", send_a_heartbeat_meanwhile)
    assert recover_stale() == 0
    assert len(asked) == 3
    assert [state for state, *_ in states()] == ["running"]
    assert WorkerProcess.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite locks no single rows")
@pytest.mark.parametrize("is_started", [True, False])
def test_a_locked_row_is_left_for_a_later_check_and_the_others_are_recovered(is_started):
    worker(age=2 * LEASE)
    locked, *_ = claim(3, started=is_started)
    other = connection.copy()
    other.set_autocommit(False)
    with other.cursor() as cursor:
        cursor.execute(f"DELETE FROM {DelayedJob._meta.db_table} WHERE id = {locked.pk}")
    assert recover_stale() == 1
    held, *free = states()
    assert held[0] == "running"
    assert free == [RELEASED, RELEASED]
    other.rollback()
    other.close()
    DelayedJob.objects.running().update(locked_at=timezone.now() - 2 * LEASE)
    assert recover_stale() == 0
    assert states()[0] == (CRASHED if is_started else RELEASED)


def test_a_row_of_a_worker_that_is_not_registered_is_recovered_after_a_lease(heard):
    claim(2, started=1)
    assert recover_stale() == 0
    assert [state for state, *_ in states()] == ["running", "running"]
    DelayedJob.objects.update(locked_at=timezone.now() - 2 * LEASE)
    assert recover_stale() == 0
    assert states() == [CRASHED, RELEASED]
    assert len(heard) == 1


@pytest.mark.parametrize("registered", [True, False])
def test_a_recovery_that_breaks_off_changes_nothing_and_the_next_one_makes_it(heard, monkeypatch, registered):
    if registered:
        worker(age=2 * LEASE)
    claim(2, started=1)
    DelayedJob.objects.update(locked_at=timezone.now() - 2 * LEASE)
    before = list(DelayedJob.objects.values())
    with monkeypatch.context() as broken:
        broken.setattr(DelayedJobQuerySet, "release", lambda *args: break_off())
        with pytest.raises(OperationalError):
            recover_stale()
    assert list(DelayedJob.objects.values()) == before
    assert heard == []
    assert WorkerProcess.objects.exists() is registered
    recover_stale()
    assert states() == [CRASHED, RELEASED]
    assert len(heard) == 1


def break_off():
    raise OperationalError("cut off")


def test_a_killer_is_given_up_and_announced_as_failed(heard):
    worker(age=2 * LEASE)
    [row] = claim(1, started=1)
    DelayedJob.objects.update(crashes=2)
    recover_stale()
    assert [state for state, *_ in states()] == ["failed"]
    assert heard == [(job_errored, row.pk), (job_failed, row.pk)]


def test_the_current_job_of_a_worker_that_ended_is_decided_and_the_rest_released(heard):
    worker()
    other = worker(W2)
    second = claim(3, started=1)[1]
    claim(1, worker=W2)
    release_and_deregister(W1, [second.pk], lambda row: decide_after_crash(row, "it fell"))
    assert states() == [RELEASED, CRASHED, RELEASED, ("running", 1, 0, W2)]
    assert heard == [(job_errored, second.pk)]
    assert list(WorkerProcess.objects.all()) == [other]


def test_without_a_decision_the_current_job_is_released_too(heard):
    worker()
    first, _ = claim(2, started=1)
    release_and_deregister(W1, [first.pk])
    assert states() == [RELEASED, RELEASED]
    assert heard == []


def test_jobs_that_an_ended_worker_had_performed_are_settled_with_their_results():
    worker()
    rows = claim(4)
    gone, kept, with_result, lost = (row.pk for row in rows)
    held, hour = DelayedJob.objects.all(), timedelta(hours=1)
    held.filter(pk__in=[kept, with_result]).update(keep_for=hour)
    held.filter(pk=with_result).update(extras=RESULT)
    held.filter(pk=lost).update(lock_token=7)
    release_and_deregister(
        W1,
        unsettled=[
            Unsettled(rows[0].lock_token, (gone, kept, with_result, lost), {with_result: "{}", lost: "x"})
        ],
    )
    finished = DelayedJob.objects.finished().order_by("pk")
    assert [(row.pk, row.result) for row in finished] == [(kept, ""), (with_result, "{}")]
    [other] = DelayedJob.objects.waiting()
    assert (other.pk, other.result) == (lost, "")


def test_several_current_jobs_of_a_worker_that_ended_are_suspected(heard):
    worker()
    first, second, _ = claim(3)
    decide = partial(decide_after_death, why="it fell", was_alone=False)
    release_and_deregister(W1, [first.pk, second.pk], decide)
    assert states() == [RELEASED] * 3
    assert [row.runs_alone for row in DelayedJob.objects.order_by("pk")] == [True, True, False]
    assert heard == []


TIMED_OUT = {"age": timedelta(seconds=9), "limit": timedelta(seconds=5)}


def test_a_job_that_runs_too_long_in_a_thread_is_settled_and_no_other(heard):
    worker()
    first, second = claim(2)
    time_out(W1, Current(first.pk, **TIMED_OUT, token=first.lock_token))
    assert states() == [("retrying", 1, 0, ""), ("running", 1, 0, W1)]
    assert heard == [(job_errored, first.pk)]
    message = "ran longer than its max_run_time of 5 s, and its worker was told to end."
    assert DelayedJob.objects.get(pk=first.pk).error_message.endswith(message)
    assert not DelayedJob.objects.finish(first)
    assert DelayedJob.objects.finish(second)


def test_a_job_that_has_ended_at_the_last_moment_and_runs_again_is_left_alone(heard):
    worker()
    [first] = claim(1)
    DelayedJob.objects.release([first])
    [again] = DelayedJob.objects.claim(W1)
    time_out(W1, Current(first.pk, **TIMED_OUT, token=first.lock_token))
    assert states() == [("running", 1, 0, W1)]
    DelayedJob.objects.finish(again)
    time_out(W1, Current(first.pk, **TIMED_OUT, token=again.lock_token))
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
        release_and_exit(W1, [first.pk], lambda row: decide_after_crash(row, "it fell"))
    assert codes == [1]
    assert heard == [(job_errored, first.pk)]
    assert states()[0] == CRASHED
    assert (states()[1] == RELEASED) is not away


def test_requests_for_a_worker_are_removed_with_its_row():
    worker(W1)
    worker(W2, age=2 * LEASE)
    for _ in range(2):
        ask_workers(Verb.QUIET, [W1, W2], "ann")
    recover_stale()
    assert set(WorkerRequest.objects.values_list("worker", flat=True)) == {W1}
    release_and_deregister(W1)
    assert not WorkerRequest.objects.exists()
