"""Running jobs that an operator ends, in processes of their own."""

import signal

import pytest
from django.core.management import call_command
from django_delayed import enqueue_all
from django_delayed.models import DelayedJob, WorkerProcess, WorkerRequest
from tests.playground.jobs import Gated, Looking, Note, Stubborn
from tests.playground.processes import command, is_alive, ledger, nothing_is_held, until, work

__all__ = ["command", "ledger", "work"]

TIMEOUT = {"SHUTDOWN_TIMEOUT": 0.5}
KILLED = "Ended by {}, and killed as it did not stop within 0.5 s."


@pytest.fixture
def running(work, ledger):
    """Start a job in a worker that looks for jobs often; gives both when the job has begun."""

    def start(job, worker=work, **options):
        row = job.perform_later(str(ledger), str(ledger.gate))
        run = worker(**options)
        ledger.has(f"begin {row.pk}")
        return run, row

    return start


@pytest.fixture
def operator(monkeypatch):
    """The name of the operator."""
    monkeypatch.setattr("getpass.getuser", lambda: "ann")
    return "ann"


def end(row):
    """End the job as the operator does."""
    call_command("jobs_cancel", row.pk, interactive=False, verbosity=0)


def cancelled(row):
    """Wait until the job is cancelled; gives its row."""
    until(lambda: DelayedJob.objects.failed().filter(pk=row.pk).exists())
    row.refresh_from_db()
    assert (row.error_class, row.attempts, row.crashes) == ("JobCancelled", 1, 0)
    return row


def test_jobs_of_a_queryset_are_cancelled_whether_they_wait_or_run(running, ledger):
    run, row = running(Looking)
    enqueue_all([Note(str(ledger), "never") for _ in range(3)], wait=3600)
    assert DelayedJob.objects.all().cancel(by="the shop") == (3, 1)
    assert cancelled(row).error_message == "Ended by the shop."
    assert [*DelayedJob.objects.all()] == [row]
    assert run.stop() == 0
    assert ledger.lines == [f"begin {row.pk}", f"told {row.pk}"]


def test_a_job_that_asks_is_told_and_its_worker_goes_on(running, ledger, operator):
    run, row = running(Looking)
    child = run.child
    end(row)
    assert cancelled(row).error_message == f"Ended by {operator}."
    assert ledger.lines == [f"begin {row.pk}", f"told {row.pk}"]
    Note.perform_later(str(ledger), "next")
    ledger.has("next")
    assert run.child == child
    run.has_said(f"Job {row.pk} is asked to end by {operator}")
    run.has_said(f"{row} CANCELLED with JobCancelled: Ended by {operator}.")
    until(lambda: not WorkerRequest.objects.exists())
    assert run.stop() == 0
    assert not run.said("WARNING|ERROR")


@pytest.mark.parametrize("job", [Gated, Stubborn])
def test_a_job_that_does_not_end_is_killed_and_the_others_lose_no_attempt(running, ledger, operator, job):
    run, row = running(job, delayed=TIMEOUT)
    child = run.child
    others = enqueue_all([Note(str(ledger), f"next {number}") for number in range(5)])
    end(row)
    assert cancelled(row).error_message == KILLED.format(operator)
    ledger.has("next 4")
    assert not is_alive(child)
    assert ledger.lines.count(f"begin {row.pk}") == 1
    run.has_said(f"Job {row.pk} was asked to end and does not")
    until(lambda: DelayedJob.objects.count() == 1)
    assert sorted(ledger.lines[1:]) == [f"next {number}" for number, _ in enumerate(others)]
    until(lambda: not WorkerRequest.objects.exists())
    assert run.stop() == 0
    assert not run.said("ERROR")


def test_a_job_that_never_asks_and_ends_well_in_time_is_finished(running, ledger):
    run, row = running(Gated)
    end(row)
    run.has_said(f"Job {row.pk} is asked to end")
    ledger.open_gate()
    until(lambda: not DelayedJob.objects.exists())
    assert f"end {row.pk}" in ledger.lines
    until(lambda: not WorkerRequest.objects.exists())
    assert run.stop() == 0


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_job_that_is_killed_for_another_reason_after_it_was_asked_is_cancelled(
    running, ledger, operator, how
):
    run, row = running(Gated)
    end(row)
    run.has_said(f"Job {row.pk} is asked to end")
    if how == "stop":
        run.send(signal.SIGTERM)
        run.has_said("was told to stop")
        assert run.stop(signal.SIGINT) == 0
    else:
        run.send(signal.SIGKILL, to=run.child)
    assert cancelled(row).error_message == f"Ended by {operator}."
    if how == "kill":
        assert run.stop() == 0
    assert nothing_is_held()
    assert not WorkerRequest.objects.exists()


def test_only_the_cancelled_job_is_told_and_not_those_of_other_threads(work, ledger, operator):
    rows = enqueue_all([Looking(str(ledger)) for _ in range(2)])
    run = work("--threads", "2")
    for row in rows:
        ledger.has(f"begin {row.pk}")
    end(rows[0])
    assert cancelled(rows[0]).error_message == f"Ended by {operator}."
    Note.perform_later(str(ledger), "next")
    ledger.has("next")
    assert f"told {rows[1].pk}" not in ledger.lines
    assert run.stop() == 0
    assert f"told {rows[1].pk}" in ledger.lines


def test_a_job_of_a_thread_that_does_not_end_is_settled_and_the_others_end_before_their_worker_does(
    work, ledger, operator
):
    stubborn, gated = enqueue_all([Stubborn(str(ledger)), Gated(str(ledger), str(ledger.gate))])
    run = work("--threads", "2", delayed={"SHUTDOWN_TIMEOUT": 5})
    for row in (stubborn, gated):
        ledger.has(f"begin {row.pk}")
    child = run.child
    end(stubborn)
    assert cancelled(stubborn).error_message == KILLED.replace("0.5", "5").format(operator)
    ledger.open_gate()
    until(lambda: not DelayedJob.objects.filter(pk=gated.pk).exists())
    Note.perform_later(str(ledger), "next")
    ledger.has("next")
    assert not is_alive(child)
    assert ledger.lines.count(f"begin {gated.pk}") == ledger.lines.count(f"begin {stubborn.pk}") == 1
    assert run.stop() == 0
    assert nothing_is_held()


def test_a_request_for_a_claim_that_is_over_is_removed_and_ends_nothing(running, ledger):
    run, row = running(Gated)
    row.refresh_from_db()
    [worker] = WorkerProcess.objects.all()
    WorkerRequest.objects.create(
        worker=worker.pk, verb="cancel", delayed_job_id=row.pk, lock_token=7, requested_at=row.locked_at
    )
    until(lambda: not WorkerRequest.objects.exists())
    ledger.open_gate()
    ledger.has(f"end {row.pk}")
    assert run.stop() == 0
    assert not run.said("is asked to end")


def test_a_job_of_jobs_workoff_that_asks_is_told_and_the_others_are_performed(
    running, ledger, operator, command
):
    run, row = running(Looking, worker=lambda: command("jobs_workoff"))
    Note.perform_later(str(ledger), "last")
    end(row)
    assert run.ends() == 0
    assert cancelled(row).error_message == f"Ended by {operator}."
    assert ledger.lines == [f"begin {row.pk}", f"told {row.pk}", "last"]
    assert run.said("2 jobs performed in .* s, 0 failed, 1 cancelled")
    assert nothing_is_held()


def test_jobs_workoff_ends_itself_with_a_job_that_does_not_end(running, ledger, operator, command):
    run, row = running(Stubborn, worker=lambda: command("jobs_workoff", delayed=TIMEOUT))
    end(row)
    assert run.ends() == 1
    assert cancelled(row).error_message == KILLED.format(operator)
    assert nothing_is_held()
