"""Async jobs in workers that run as separate processes."""

import signal

import pytest
from django.core.management import call_command
from django_delayed import enqueue_all
from django_delayed.models import DelayedJob
from tests.playground.coroutines import (
    Blocking,
    Coroutine,
    GoingOn,
    Hanging,
    Killing,
    Looking,
    ShortSleeping,
    Sleeping,
)
from tests.playground.jobs import Note
from tests.playground.models import Effect
from tests.playground.processes import no_job_is_left, nothing_is_held, until

pytestmark = pytest.mark.django_db(transaction=True)

each_worker = pytest.mark.parametrize(
    "options", [(), ("--threads", "3"), ("--isolate",)], ids=["plain", "threads", "isolate"]
)


def given_up(row):
    """Wait until the job has failed for good; gives its row."""
    until(lambda: DelayedJob.objects.failed().filter(pk=row.pk).exists())
    row.refresh_from_db()
    return row


@each_worker
def test_async_jobs_are_performed_like_others(work, ledger, options):
    rows = enqueue_all([Coroutine(str(ledger)) for _ in range(20)])
    worker = work(*options)
    until(no_job_is_left)
    assert sorted(ledger.lines) == sorted(f"performed {row.pk}" for row in rows)
    assert Effect.objects.count() == 60
    assert worker.stop() == 0
    assert not worker.said("WARNING|ERROR")
    assert nothing_is_held()


@pytest.mark.parametrize("job_class", [ShortSleeping, GoingOn, Hanging])
def test_an_async_job_that_runs_too_long_is_ended_and_its_worker_goes_on(work, ledger, job_class):
    row = job_class.set(max_attempts=1).perform_later(str(ledger))
    worker = work()
    child = worker.child
    assert given_up(row).error_class == "JobTimeout"
    what = f"JobTimeout: {job_class.__name__} ran longer than its max_run_time of 0.5 s"
    assert what in row.last_error
    Note.perform_later(str(ledger), "next")
    ledger.has("next")
    assert worker.child == child
    assert worker.stop() == 0
    assert not worker.said("has left threads running")


def test_an_async_job_that_runs_too_long_is_cancelled_and_may_make_queries_then(work, ledger):
    row = ShortSleeping.set(max_attempts=1).perform_later(str(ledger))
    worker = work()
    assert given_up(row).error_message == "ShortSleeping ran longer than its max_run_time of 0.5 s."
    assert "await asyncio.sleep(600)" in row.last_error
    assert ledger.lines == [f"begin {row.pk}", f"cancelled {row.pk}"]
    assert [effect.job for effect in Effect.objects.all()] == [row.pk]
    assert worker.stop() == 0


def test_an_async_job_that_blocks_its_loop_is_killed_with_its_worker(work, ledger):
    row = Blocking.set(max_attempts=1).perform_later(str(ledger))
    Note.set(wait=1).perform_later(str(ledger), "next")
    worker = work()
    assert given_up(row).error_class == "JobTimeout"
    ledger.has("next")
    assert worker.stop() == 0
    assert nothing_is_held()


def test_an_async_job_that_runs_too_long_in_a_thread_is_settled(work, ledger):
    row = ShortSleeping.set(max_attempts=1).perform_later(str(ledger))
    worker = work("--threads", "2", delayed={"SHUTDOWN_TIMEOUT": 0.5})
    assert given_up(row).error_class == "JobTimeout"
    worker.has_said("Worker [0-9a-f]{32} started", times=2)
    assert worker.stop() == 0
    assert nothing_is_held()


@each_worker
def test_an_async_job_asks_whether_to_stop(work, ledger, options):
    row = Looking.perform_later(str(ledger))
    worker = work(*options)
    ledger.has(f"begin {row.pk}")
    assert worker.stop() == 0
    row.refresh_from_db()
    assert (row.state, row.attempts, row.crashes, row.last_error) == ("enqueued", 0, 0, "")
    assert ledger.lines == [f"begin {row.pk}", f"told {row.pk}"]
    assert nothing_is_held()


@each_worker
@pytest.mark.parametrize("job_class", [Looking, Sleeping])
def test_an_async_job_that_an_operator_ends_is_cancelled(work, ledger, options, job_class):
    row = job_class.perform_later(str(ledger))
    worker = work(*options, delayed={"SHUTDOWN_TIMEOUT": 1})
    ledger.has(f"begin {row.pk}")
    call_command("jobs_cancel", row.pk, interactive=False, verbosity=0)
    assert given_up(row).error_class == "JobCancelled"
    assert worker.stop() == 0
    assert nothing_is_held()


def test_an_async_job_is_interrupted_by_a_second_signal(command, ledger):
    row = Sleeping.perform_later(str(ledger))
    run = command("jobs_workoff", delayed={"SHUTDOWN_TIMEOUT": 3600})
    ledger.has(f"begin {row.pk}")
    # The first signal asks it to stop, and the second interrupts the job. But the thread of the loop may get
    # a signal, which then wakes nobody; and the last one may end the process when all is done.
    until(lambda: run.process.poll() is not None or run.send(signal.SIGINT))
    assert run.ends() in (0, -signal.SIGINT)
    row.refresh_from_db()
    assert (row.state, row.attempts, row.crashes) == ("enqueued", 0, 0)
    assert nothing_is_held()


@each_worker
def test_an_async_job_that_kills_its_process_has_crashed(work, ledger, options):
    row = Killing.set(max_attempts=1).perform_later(str(ledger))
    worker = work(*options)
    assert given_up(row).error_class == "WorkerCrashed"
    assert (row.attempts, row.crashes) == (1, 1)
    assert worker.stop() == 0
