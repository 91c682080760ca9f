"""The database refuses statements until somebody repairs it: that is logged, and no job runs twice."""

from contextlib import contextmanager

import pytest
from django.core.management import call_command
from django.db import Error, connection
from django_delayed.models import DelayedJob, WorkerProcess
from tests.playground.jobs import Gated, Note
from tests.playground.processes import no_job_is_left, nothing_is_held, until

REFUSES = r"ERROR The database refuses a statement .*`manage.py migrate`.*, trying again in .*{}"


@contextmanager
def missing(model, column):
    """Remove the column for a block, as if a migration had not run yet."""
    table = model._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO elsewhere")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {table} RENAME COLUMN elsewhere TO {column}")


def test_an_outcome_that_the_database_refuses_is_written_after_the_repair(work, ledger):
    worker = work()
    job = Gated.perform_later(str(ledger), str(ledger.gate))
    ledger.has(f"begin {job.pk}")
    with missing(DelayedJob, "lock_token"):
        ledger.open_gate()
        ledger.has(f"end {job.pk}")
        worker.has_said(REFUSES.format("lock_token"))
    until(no_job_is_left)
    assert ledger.lines == [f"begin {job.pk}", f"end {job.pk}"]
    assert not worker.said("unavailable|Traceback")
    assert worker.stop() == 0
    assert nothing_is_held()


def test_a_supervisor_whose_statements_are_refused_goes_on_after_the_repair(work, ledger):
    with missing(WorkerProcess, "heartbeat_at"):
        worker = work(delayed={"LEASE": 2})
        worker.has_said(REFUSES.format("heartbeat_at"), times=2)
    Note.perform_later(str(ledger), "after")
    ledger.has("after")
    assert not worker.said("unavailable|Traceback")
    assert worker.stop() == 0


def test_a_worker_whose_claims_are_refused_is_replaced_until_the_repair(work, ledger):
    worker = work()
    worker.has_said("Worker .* started")
    with missing(DelayedJob, "priority"):
        worker.has_said("OperationalError.*priority|ProgrammingError.*priority|Unknown column.*priority")
        worker.has_said(REFUSES.format("priority"))
    worker.has_said("Worker .* ended with exit code 1")
    Note.perform_later(str(ledger), "after")
    ledger.has("after")
    assert len(worker.said("Worker .* started")) > 1
    assert worker.stop() == 0
    assert nothing_is_held()


@pytest.mark.django_db(transaction=True)
def test_working_off_ends_with_the_error():
    with missing(DelayedJob, "priority"), pytest.raises(Error, match="priority"):
        call_command("jobs_workoff")
