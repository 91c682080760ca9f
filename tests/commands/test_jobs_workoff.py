"""jobs_workoff performs what is ready in its own process, then ends."""

import logging
import os
import pty
import signal
import threading
from contextlib import contextmanager

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django_delayed import enqueue_all
from django_delayed.execution.stopping import Stop
from django_delayed.models import DelayedJob, WorkerProcess
from tests.blog.jobs import Discarded, DiscardedWithItsRecord
from tests.blog.models import Post
from tests.playground.jobs import FailingForGood, Gated, Note, Told
from tests.playground.processes import nothing_is_held, until


@contextmanager
def logging_unconfigured():
    """A block in which our logger has no handler, not even one of pytest, as without a LOGGING."""
    logger = logging.getLogger("django_delayed")
    before = logger.handlers, logger.propagate, logger.level
    logger.handlers, logger.propagate = [], False
    logger.setLevel(logging.NOTSET)
    try:
        yield logger
    finally:
        logger.handlers, logger.propagate, level = before
        logger.setLevel(level)


def test_it_performs_what_is_ready_and_what_falls_due_meanwhile(command, ledger):
    enqueue_all([Note(str(ledger), "ready") for _ in range(5)])
    gated = Gated.perform_later(str(ledger), str(ledger.gate))
    run = command("jobs_workoff")
    ledger.has(f"begin {gated.pk}")
    Note.perform_later(str(ledger), "meanwhile")
    Note.set(wait=3600).perform_later(str(ledger), "later")
    ledger.open_gate()
    assert run.ends() == 0
    assert ledger.lines.count("ready") == 5
    assert ledger.lines[-1] == "meanwhile"
    assert run.said(r"^7 jobs performed in \d+\.\d s, 0 failed$")
    assert nothing_is_held()


def test_an_empty_queue_is_worked_off_at_once(command):
    run = command("jobs_workoff", "--quiet")
    assert (run.ends(), run.output) == (0, "")


def test_its_exit_code_reports_failures_only_with_the_flag(command):
    FailingForGood.perform_later()
    assert command("jobs_workoff").ends() == 0
    FailingForGood.perform_later()
    run = command("jobs_workoff", "--fail-on-error")
    assert run.ends() == 1
    assert run.said("CommandError: 1 of 1 attempts failed.")
    assert command("jobs_workoff", "--fail-on-error").ends() == 0


def test_in_a_terminal_it_draws_its_progress_on_one_line(command, ledger):
    enqueue_all([Note(str(ledger), "done") for _ in range(50)])
    terminal, end = pty.openpty()
    run = command("jobs_workoff", stdout=end, stderr=end)
    os.close(end)
    written = b""
    while b"50 jobs performed in" not in written:
        written += os.read(terminal, 1024)
    assert run.ends() == 0
    os.close(terminal)
    assert written.startswith(b"\r")
    assert written.count(b"\n") <= 1
    assert b"RUNNING" not in written


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_current_job_finish(command, ledger, signum):
    gated = Gated.perform_later(str(ledger), str(ledger.gate))
    Note.perform_later(str(ledger), "next")
    run = command("jobs_workoff")
    ledger.has(f"begin {gated.pk}")
    run.send(signum)
    ledger.open_gate()
    assert run.ends() == 0
    assert ledger.lines == [f"begin {gated.pk}", f"end {gated.pk}"]
    assert run.said("Stopped before all jobs were performed")
    assert nothing_is_held()


def test_a_second_signal_interrupts_the_job_and_its_attempt_is_not_counted(command, ledger):
    gated = Told.perform_later(str(ledger), str(ledger.gate))
    run = command("jobs_workoff")
    ledger.has(f"begin {gated.pk}")
    run.send(signal.SIGTERM)
    # Python handles the pending signal with the lower number first, which would be the second one.
    ledger.has(f"told {gated.pk}")
    run.send(signal.SIGINT)
    assert run.ends() == 0
    gated.refresh_from_db()
    assert (gated.attempts, gated.crashes, gated.last_error) == (0, 0, "")
    assert not run.said("Traceback")
    assert nothing_is_held()


def test_a_stop_that_takes_too_long_interrupts_the_job_too(command, ledger):
    gated = Gated.perform_later(str(ledger), str(ledger.gate))
    run = command("jobs_workoff", delayed={"SHUTDOWN_TIMEOUT": 0.2})
    ledger.has(f"begin {gated.pk}")
    assert run.stop() == 0
    gated.refresh_from_db()
    assert (gated.attempts, gated.crashes) == (0, 0)
    assert nothing_is_held()


def test_it_sends_heartbeats_during_a_long_job(command, work, ledger):
    gated = Gated.perform_later(str(ledger), str(ledger.gate))
    run = command("jobs_workoff", delayed={"LEASE": 3})
    ledger.has(f"begin {gated.pk}")
    hungry = work(delayed={"LEASE": 3})
    first = WorkerProcess.objects.get(pid=run.pid)
    # For more than two leases.
    until(
        lambda: (
            (WorkerProcess.objects.get(pid=run.pid).heartbeat_at - first.heartbeat_at).total_seconds() > 6.5
        )
    )
    ledger.open_gate()
    assert run.ends() == 0
    assert ledger.lines == [f"begin {gated.pk}", f"end {gated.pk}"]
    assert hungry.stop() == 0
    assert nothing_is_held()


def test_the_job_of_a_killed_process_is_performed_by_the_next_one(command, ledger):
    gated = Gated.perform_later(str(ledger), str(ledger.gate))
    run = command("jobs_workoff", delayed={"LEASE": 0.5})
    ledger.has(f"begin {gated.pk}")
    until(lambda: DelayedJob.objects.get().started_at)
    run.stop(signal.SIGKILL)
    dead = WorkerProcess.objects.get()
    until(lambda: WorkerProcess.objects.stale(dead.started_at - dead.started_at).exists())
    ledger.open_gate()
    until(lambda: command("jobs_workoff", delayed={"LEASE": 0.5}).ends() == 0 and nothing_is_held())
    assert ledger.lines.count(f"begin {gated.pk}") == 2
    assert not DelayedJob.objects.exists()


class TestInACallersTransaction:
    """In a transaction, as in a TestCase of a project."""

    pytestmark = pytest.mark.django_db

    @pytest.fixture(autouse=True)
    def _trusted(self, settings):
        settings.DJANGO_DELAYED = {"TRUSTED_MODULES": ["tests.playground"]}

    def test_it_starts_no_thread_and_writes_no_worker_row(self, ledger):
        before = threading.active_count()
        seen = []
        Note.perform_later(str(ledger), "done")
        with connection.execute_wrapper(
            lambda execute, sql, *rest: seen.append((sql, threading.active_count())) or execute(sql, *rest)
        ):
            call_command("jobs_workoff", quiet=True)
        assert ledger.lines == ["done"]
        assert {threads for _, threads in seen} == {before}
        assert not [sql for sql, _ in seen if "workerprocess" in sql]
        assert not DelayedJob.objects.exists()

    def test_it_restores_the_signal_handlers(self):
        before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
        call_command("jobs_workoff", quiet=True)
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before

    def test_a_job_that_cannot_be_loaded_fails_and_the_others_are_performed(self, ledger, capsys):
        rows = enqueue_all([Note(str(ledger), number) for number in range(3)])
        DelayedJob.objects.filter(pk=rows[1].pk).update(payload='{"job": "os:system", "args": ["true"]}')
        call_command("jobs_workoff")
        assert ledger.lines == ["0", "2"]
        failed = DelayedJob.objects.get()
        assert (failed.pk, failed.state) == (rows[1].pk, "failed")
        assert "3 jobs performed" in capsys.readouterr().out

    def test_it_takes_options_as_python_values(self, ledger):
        for queue in ("mail", "index", "other"):
            Note.set(queue=queue).perform_later(str(ledger), queue)
        call_command("jobs_workoff", queues="mail", sleep_delay=0, quiet=True)
        assert ledger.lines == ["mail"]
        call_command("jobs_workoff", queues=["index"], sleep_delay="0.5", quiet=True)
        assert ledger.lines == ["mail", "index"]

    def test_each_call_follows_its_own_quiet_option(self, ledger, capsys):
        said = []
        with logging_unconfigured() as logger:
            for quiet in (True, False, True, False):
                Note.perform_later(str(ledger), "done")
                call_command("jobs_workoff", quiet=quiet)
                said.append(capsys.readouterr().out)
                assert (logger.handlers, logger.level) == ([], logging.NOTSET)
        assert [text.count("RUNNING") for text in said] == [0, 1, 0, 1]
        assert said[0] == said[2] == ""
        assert "Started: " not in "".join(said)

    def test_the_log_handler_is_removed_after_an_error_too(self, monkeypatch):
        monkeypatch.setattr(
            "django_delayed.management.commands.jobs_workoff.work_off", lambda *_, **__: 1 / 0
        )
        with logging_unconfigured() as logger:
            with pytest.raises(ZeroDivisionError):
                call_command("jobs_workoff")
            assert (logger.handlers, logger.level) == ([], logging.NOTSET)

    def test_discarded_jobs_are_counted_separately_and_are_not_failures(self, capsys, tmp_path):
        gone = Post.objects.create(title="a")
        enqueue_all([DiscardedWithItsRecord(gone), Discarded("lookup"), Discarded("none")])
        gone.delete()
        call_command("jobs_workoff", "--fail-on-error")
        assert "3 jobs performed" in (said := capsys.readouterr().out)
        assert ", 0 failed, 2 discarded\n" in said
        enqueue_all([Discarded("lookup"), FailingForGood()])
        with pytest.raises(CommandError, match="1 of 2 attempts failed"):
            call_command("jobs_workoff", "--fail-on-error")
        assert ", 1 failed, 1 discarded\n" in capsys.readouterr().out

    def test_jobs_that_an_operator_has_ended_are_counted_separately_and_are_not_failures(
        self, capsys, monkeypatch
    ):
        monkeypatch.setattr(Stop, "is_cancelled", lambda stop: True)
        enqueue_all([FailingForGood(), Discarded("lookup")])
        call_command("jobs_workoff", "--fail-on-error")
        assert "2 jobs performed" in (said := capsys.readouterr().out)
        assert ", 0 failed, 2 cancelled\n" in said

    def test_failures_raise_an_error_with_the_flag(self):
        FailingForGood.perform_later()
        with pytest.raises(CommandError, match="1 of 1 attempts failed"):
            call_command("jobs_workoff", "--fail-on-error", "--quiet")
