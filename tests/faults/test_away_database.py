"""The database goes away, or keeps a worker waiting: an error of the queue is not an error of the job."""

import signal

import pytest
from django.db import connection, transaction
from django_delayed.models import DelayedJob, WorkerProcess
from tests.connections import end_all_connections, other_connections
from tests.playground.jobs import Gated, Note, Told
from tests.playground.processes import no_job_is_left, nothing_is_held, until

on_a_server = pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no connections to end")
on_sqlite = pytest.mark.skipif(connection.vendor != "sqlite", reason="one writer at a time is SQLite's way")
SHORT_LEASE = {"LEASE": 2}


@on_a_server
def test_an_outcome_is_written_once_the_database_is_back(work, ledger):
    worker = work()
    worker.has_said("Worker .* started")
    job = Gated.perform_later(str(ledger), str(ledger.gate))
    ledger.has(f"begin {job.pk}")
    end_all_connections()
    ledger.open_gate()
    until(no_job_is_left)
    assert ledger.lines == [f"begin {job.pk}", f"end {job.pk}"]
    worker.has_said("The database is unavailable, trying again in")
    assert worker.stop() == 0
    assert nothing_is_held()


@on_a_server
def test_an_outcome_is_written_however_often_its_worker_was_told_to_stop(work, ledger):
    worker = work()
    worker.has_said("Worker .* started")
    job = Told.perform_later(str(ledger), str(ledger.gate))
    ledger.has(f"begin {job.pk}")
    worker.send(signal.SIGINT, to=worker.child)
    ledger.has(f"told {job.pk}")
    # Sent to the supervisor, it would stop the worker at once.
    worker.send(signal.SIGINT, to=worker.child)
    end_all_connections()
    ledger.open_gate()
    until(no_job_is_left)
    assert ledger.lines == [f"begin {job.pk}", f"told {job.pk}", f"end {job.pk}"]
    worker.has_said("The database is unavailable, trying again in")
    assert worker.stop() == 0
    assert nothing_is_held()


@on_a_server
def test_an_idle_worker_goes_on_after_its_connections_are_ended(work, ledger):
    worker = work(delayed=SHORT_LEASE)
    worker.has_said("Worker .* started")
    before = WorkerProcess.objects.get()
    until(lambda: WorkerProcess.objects.get().pid != before.pid or before.pid != worker.pid)
    # The supervisor has one, and the worker opens one for its first claim.
    until(lambda: len(other_connections()) == 2)
    end_all_connections()
    Note.perform_later(str(ledger), "done")
    ledger.has("done")
    until(lambda: WorkerProcess.objects.get().heartbeat_at > before.heartbeat_at)
    assert worker.stop() == 0


@on_sqlite
@pytest.mark.slow
def test_a_lock_held_for_longer_than_the_timeout_makes_a_worker_wait(work, ledger):
    worker = work(environment={"DATABASE_OPTIONS": '{"timeout": 0.1}'}, delayed={"LEASE": 1})
    worker.has_said("Worker .* started")
    job = Gated.perform_later(str(ledger), str(ledger.gate))
    ledger.has(f"begin {job.pk}")
    with transaction.atomic():
        DelayedJob.objects.filter(pk=job.pk).update(name="locked")
        ledger.open_gate()
        worker.has_said("The database is unavailable, trying again in .* database is locked", times=3)
    until(no_job_is_left)
    Note.perform_later(str(ledger), "next")
    ledger.has("next")
    until(no_job_is_left)
    assert ledger.lines == [f"begin {job.pk}", f"end {job.pk}", "next"]
    assert not worker.said("no heartbeat|FAILED|Traceback")
    assert worker.stop() == 0
    assert nothing_is_held()


@on_sqlite
def test_a_job_counts_as_performed_if_its_worker_dies_before_it_could_settle_it(work, ledger):
    worker = work(environment={"DATABASE_OPTIONS": '{"timeout": 0.1}'}, delayed=SHORT_LEASE)
    worker.has_said("Worker .* started")
    job = Gated.perform_later(str(ledger), str(ledger.gate))
    ledger.has(f"begin {job.pk}")
    with transaction.atomic():
        DelayedJob.objects.filter(pk=job.pk).update(name="locked")
        ledger.open_gate()
        ledger.has(f"end {job.pk}")
        # It waits for two more: at least one of them is from the worker.
        worker.has_said("The database is unavailable", times=2 + len(worker.said("database is unavailable")))
        worker.send(signal.SIGKILL, to=worker.child)
    until(no_job_is_left)
    assert ledger.lines == [f"begin {job.pk}", f"end {job.pk}"]
    assert not worker.said("WorkerCrashed")
    Note.perform_later(str(ledger), "next")
    ledger.has("next")
    assert worker.stop() == 0
    assert nothing_is_held()
