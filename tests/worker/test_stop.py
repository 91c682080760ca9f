"""A stop costs no attempt: what a worker, as a separate process, does at each signal."""

import os
import signal
import sys
import time

import pytest
from django.db import connection
from django_delayed import enqueue_all
from django_delayed.models import DelayedJob, WorkerProcess
from django_delayed.worker.shutdown import REPEATED_WITHIN
from tests.playground.jobs import Gated, HoldGil, Looking, Note
from tests.playground.processes import MANAGE, children_of, is_alive, nothing_is_held, until


@pytest.fixture
def at_work(work, ledger):
    """A worker in the middle of a gated job, with two more jobs behind it."""

    def start(job=Gated, **options):
        worker = work(**options)
        worker.has_said("Worker .* started")
        row = job.perform_later(str(ledger), str(ledger.gate))
        ledger.has(f"begin {row.pk}")
        enqueue_all([Note(str(ledger), "next"), Note(str(ledger), "last")])
        return worker, row

    return start


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_current_job_finish_and_claims_no_more(at_work, ledger, signum):
    worker, row = at_work()
    worker.send(signum)
    worker.has_said("was told to stop")
    ledger.open_gate()
    assert worker.ends() == 0
    assert ledger.lines == [f"begin {row.pk}", f"end {row.pk}"]
    assert [job.attempts for job in DelayedJob.objects.all()] == [0, 0]
    assert nothing_is_held()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_worker_ends_at_once(command, signum):
    worker = command("jobs_work", "--sleep-delay", "3600", "-v", "2")
    worker.has_said("Sleeping for 3600.0 seconds")
    assert worker.stop(signum) == 0
    assert nothing_is_held()


def test_a_worker_that_is_told_to_stop_before_its_child_is_up_ends_too(work):
    worker = work()
    until(WorkerProcess.objects.exists)
    assert worker.stop() == 0
    assert nothing_is_held()


def test_what_was_claimed_with_the_current_job_is_released(work, ledger):
    enqueue_all([Note(str(ledger), "quick") for _ in range(40)])
    gated, *rest = enqueue_all(
        [Gated(str(ledger), str(ledger.gate)), *(Note(str(ledger), "late") for _ in range(40))]
    )
    worker = work("--queue", "default")
    ledger.has(f"begin {gated.pk}")
    # They are released long before it ends: a long job holds no other.
    until(lambda: DelayedJob.objects.running().count() == 1)
    assert set(DelayedJob.objects.waiting().values_list("attempts", flat=True)) == {0}
    until(lambda: DelayedJob.objects.get(pk=gated.pk).started_at)
    worker.send(signal.SIGTERM)
    worker.has_said("was told to stop")
    ledger.open_gate()
    assert worker.ends() == 0
    assert "late" not in ledger.lines
    assert DelayedJob.objects.waiting().filter(attempts=0).count() == len(rest)


def test_a_job_that_outlasts_the_shutdown_timeout_is_released(at_work, ledger):
    worker, row = at_work(delayed={"SHUTDOWN_TIMEOUT": 0.3})
    assert worker.stop() == 0
    assert ledger.lines == [f"begin {row.pk}"]
    row.refresh_from_db()
    assert (row.attempts, row.crashes, row.last_error) == (0, 0, "")
    assert nothing_is_held()


@pytest.mark.parametrize("name", ["jobs_work", "jobs_workoff"])
def test_a_job_that_asks_whether_to_stop_ends_in_time_and_spends_no_attempt(command, ledger, name):
    row = Looking.perform_later(str(ledger))
    worker = command(name)
    ledger.has(f"begin {row.pk}")
    assert worker.stop() == 0
    assert comes_again_after_it_was_told(row, ledger)


def test_a_job_that_asks_whether_to_stop_is_told_when_the_supervisor_is_gone(at_work, ledger):
    worker, row = at_work(Looking)
    child = worker.child
    worker.send(signal.SIGKILL)
    worker.process.wait()
    until(lambda: not is_alive(child))
    assert comes_again_after_it_was_told(row, ledger)


def comes_again_after_it_was_told(row, ledger):
    row.refresh_from_db()
    again = (row.state, row.attempts, row.crashes, row.last_error) == ("enqueued", 0, 0, "")
    return again and ledger.lines == [f"begin {row.pk}", f"told {row.pk}"] and nothing_is_held()


def test_a_second_signal_ends_it_now(at_work, ledger):
    worker, row = at_work()
    worker.send(signal.SIGTERM)
    # Without this wait both might be pending, and Python handles the lower number first.
    worker.has_said("was told to stop")
    worker.send(signal.SIGINT)
    assert worker.ends() == 0
    row.refresh_from_db()
    assert (row.attempts, row.crashes) == (0, 0)
    assert ledger.lines == [f"begin {row.pk}"]
    assert nothing_is_held()


@pytest.mark.slow
def test_a_second_sigterm_ends_it_now_unless_it_repeats_the_first(at_work, ledger):
    worker, row = at_work()
    worker.send(signal.SIGTERM)
    worker.has_said("was told to stop")
    time.sleep(REPEATED_WITHIN)
    assert worker.stop() == 0
    row.refresh_from_db()
    assert (row.attempts, row.crashes) == (0, 0)
    assert ledger.lines == [f"begin {row.pk}"]
    assert nothing_is_held()


def test_control_c_in_a_terminal_arrives_once(at_work, ledger):
    worker, row = at_work(start_new_session=True)
    assert os.getpgid(worker.child) != worker.pid  # the terminal's signal is for the parent alone
    os.killpg(worker.pid, signal.SIGINT)
    worker.has_said("was told to stop")
    ledger.open_gate()
    assert worker.ends() == 0
    assert f"end {row.pk}" in ledger.lines
    assert "KeyboardInterrupt" not in worker.output


def test_sigquit_writes_the_stacks_and_the_work_goes_on(at_work, ledger):
    worker, _ = at_work()
    worker.send(signal.SIGQUIT)
    worker.has_said(r"in perform$")
    worker.has_said(r"supervisor.py.* in run$")
    ledger.open_gate()
    ledger.has("last")
    assert worker.stop() == 0


def test_sigquit_writes_the_stacks_of_a_job_that_holds_the_gil(work, ledger):
    worker = work()
    row = HoldGil.perform_later(str(ledger), 2)
    until(lambda: row.pk in ledger.starts)
    worker.send(signal.SIGQUIT)
    worker.has_said(r"in perform$")
    until(lambda: row.pk in ledger.effects)
    assert worker.stop() == 0


def test_a_worker_without_a_stderr_survives_sigquit(work, ledger):
    worker = work(start_with=["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, MANAGE])
    worker.has_said("Worker .* started")
    worker.send(signal.SIGQUIT)
    Note.perform_later(str(ledger), "done")
    ledger.has("done")
    assert worker.stop() == 0


def test_no_process_is_left_when_only_the_supervisor_is_killed(at_work, ledger):
    worker, row = at_work()
    child = worker.child
    worker.send(signal.SIGKILL)
    worker.process.wait()
    ledger.open_gate()
    ledger.has(f"end {row.pk}")
    until(lambda: not is_alive(child))
    assert nothing_is_held()  # the child has cleaned up after itself
    assert [job.attempts for job in DelayedJob.objects.all()] == [0, 0]


@pytest.mark.skipif(sys.platform != "linux", reason="needs the C library of Linux")
@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_child_without_a_parent_ends_in_time_although_its_job_holds_the_gil(work, ledger, threads):
    worker = work("--threads", threads, delayed={"SHUTDOWN_TIMEOUT": 0.3})
    row = HoldGil.perform_later(str(ledger), 600)
    until(lambda: row.pk in ledger.starts)
    child = worker.child
    worker.send(signal.SIGKILL)
    worker.process.wait()
    until(lambda: not is_alive(child))
    assert row.pk not in ledger.effects


def test_an_idle_child_ends_by_itself_when_its_parent_is_killed(command):
    worker = command("jobs_work", "--sleep-delay", "3600", "-v", "2")
    worker.has_said("Sleeping")
    child = worker.child
    worker.send(signal.SIGKILL)
    worker.process.wait()
    until(lambda: not is_alive(child))
    assert nothing_is_held()


def test_a_child_without_a_parent_gives_back_what_does_not_end_in_time(at_work, ledger):
    worker, row = at_work(delayed={"SHUTDOWN_TIMEOUT": 0.3})
    child = worker.child
    worker.send(signal.SIGKILL)
    worker.process.wait()
    until(lambda: not is_alive(child))
    assert ledger.lines == [f"begin {row.pk}"]
    row.refresh_from_db()
    assert (row.attempts, row.crashes, row.locked_at) == (0, 0, None)
    assert nothing_is_held()


def test_a_child_that_is_told_to_stop_is_replaced(work, ledger):
    worker = work()
    worker.has_said("Worker .* started")
    first = worker.child
    worker.send(signal.SIGTERM, to=first)
    worker.has_said("Worker .* started", times=2)
    assert children_of(worker.pid) != [first]
    assert worker.stop() == 0


@pytest.mark.skipif(connection.vendor != "sqlite", reason="needs a database that can be moved away")
def test_a_worker_whose_database_is_away_can_be_stopped(work, ledger, tmp_path):
    missing = tmp_path / "no such folder" / "db.sqlite3"
    worker = work(environment={"DATABASE_NAME": str(missing)})
    worker.has_said("The database is unavailable", times=2)
    assert worker.stop() == 0


@pytest.mark.skipif(connection.vendor != "sqlite", reason="needs a database that can be moved away")
def test_a_work_off_whose_database_is_away_can_be_stopped(command, tmp_path):
    missing = tmp_path / "no such folder" / "db.sqlite3"
    run = command("jobs_workoff", environment={"DATABASE_NAME": str(missing)})
    run.has_said("The database is unavailable", times=2)
    assert run.stop(signal.SIGINT) == 0
    assert not run.said("Traceback")
