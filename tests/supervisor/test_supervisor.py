"""A supervisor of several workers, as processes."""

import signal
import sys
import time
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from django_delayed import enqueue_all
from django_delayed.models import DelayedJob, JobStat, WorkerProcess
from django_delayed.supervisor import manager
from django_delayed.supervisor.supervisor import Supervisor
from django_delayed.worker.configuration import Configuration
from django_delayed.worker.heartbeat import TICK
from django_delayed.worker.wakeup import Wakeup
from tests.connections import sessions
from tests.playground.jobs import FailingForGood, Gated, Hoard, KillerOnce, Looking, Note
from tests.playground.processes import (
    command,
    hangup,
    is_alive,
    ledger,
    no_job_is_left,
    nothing_is_held,
    started,
    until,
    work,
    workers,
)
from tests.playground.waiting import PATIENCE

__all__ = ["command", "ledger", "work"]


def test_jobs_are_shared_among_the_workers(work, ledger):
    run = work("--processes", "3")
    assert len(started(run, 3)) == 3
    rows = [Gated.perform_later(str(ledger), str(ledger.gate)) for _ in range(3)]
    # None of them ends before the gate is open, so each is in another worker.
    for row in rows:
        ledger.has(f"begin {row.pk}")
    assert DelayedJob.objects.running().values("locked_by").distinct().count() == 3
    ledger.open_gate()
    until(no_job_is_left)
    assert run.stop() == 0
    assert nothing_is_held()
    assert not workers()


def test_each_pool_serves_its_queues(work, ledger):
    run = work("--pool", "mail:2", "--pool", "index,slow")
    found = started(run, 3)
    assert sorted(row.queues for row in WorkerProcess.objects.all()) == ["index,slow", "mail", "mail"]
    assert run.said(
        r"Supervisor started: .*, 3 workers: 2 for queues mail; 1 for queues index, slow, database"
    )
    enqueue_all([Note(str(ledger), "mail")], queue="mail")
    enqueue_all([Note(str(ledger), "slow")], queue="slow")
    enqueue_all([Note(str(ledger), "other")], queue="other")
    ledger.has("mail")
    ledger.has("slow")
    assert set(workers()) == set(found)
    assert run.stop() == 0
    assert ledger.lines.count("other") == 0


def test_the_row_of_a_worker_says_what_it_is_and_does(work, ledger):
    run = work("--name", "the mailer", delayed={"LEASE": 2})
    started(run, 1)
    assert run.said(r"Supervisor started: name:the mailer host:")
    assert run.said(r"Worker [0-9a-f]{32} started: name:the mailer host:")
    enqueue_all([Note(str(ledger), "done"), FailingForGood(), FailingForGood()])
    until(lambda: DelayedJob.objects.failed().count() == 2 and "done" in ledger.lines)
    row = Gated.perform_later(str(ledger), str(ledger.gate))
    ledger.has(f"begin {row.pk}")

    def shown():
        worker = WorkerProcess.objects.get()
        # An earlier heartbeat may have seen another job.
        return worker if worker.current_jobs[0] and worker.current_jobs[0][0] == row.pk else None

    worker = until(shown)
    [(_, since)] = worker.current_jobs
    assert (worker.name, worker.processed, worker.failed) == ("the mailer", 3, 2)
    assert row.created_at - timedelta(seconds=1) <= since <= worker.heartbeat_at
    ledger.open_gate()
    until(
        lambda: (
            (WorkerProcess.objects.get().processed, WorkerProcess.objects.get().current_jobs) == (4, [None])
        )
    )
    assert run.stop() == 0


def test_what_its_workers_perform_is_in_the_numbers_of_its_minutes(work, ledger):
    run = work("--processes", "2")
    started(run, 2)
    enqueue_all([Note(str(ledger), "done") for _ in range(20)] + [FailingForGood()])
    KillerOnce.perform_later(str(ledger), "SIGKILL")
    until(lambda: DelayedJob.objects.failed().count() == 2 and DelayedJob.objects.count() == 2)
    assert run.stop() == 0
    rows = list(JobStat.objects.all())
    assert sum(row.processed for row in rows) == 22
    assert sum(row.failed for row in rows) == 2
    for row in rows:
        assert 0 <= row.longest <= row.waited
        assert timedelta(0) <= timezone.now() - row.minute < timedelta(hours=1)


def test_a_worker_that_dies_is_replaced_and_the_others_go_on(work):
    run = work("--processes", "2")
    before = started(run, 2)
    [killed, other] = before
    run.send(signal.SIGKILL, to=killed)
    after = started(run, 3)
    assert killed not in after
    assert after[other] == before[other]
    assert len(after) == 2
    assert run.stop() == 0


def test_a_second_signal_ends_all_of_them_at_once(work, ledger):
    run = work("--processes", "2")
    started(run, 2)
    rows = [Gated.perform_later(str(ledger), str(ledger.gate)) for _ in range(2)]
    for row in rows:
        ledger.has(f"begin {row.pk}")
    run.send(signal.SIGTERM)
    run.has_said("was told to stop", 2)
    assert run.stop(signal.SIGINT) == 0
    assert nothing_is_held()
    assert [row.attempts for row in DelayedJob.objects.all()] == [0, 0]


def test_hangup_replaces_the_workers_one_by_one_and_their_jobs_end_first(work, ledger):
    run = work("--processes", "2", **hangup(signal.SIG_DFL))
    before = started(run, 2)
    row = Gated.perform_later(str(ledger), str(ledger.gate))
    ledger.has(f"begin {row.pk}")
    run.send(signal.SIGHUP)
    run.has_said("is replaced")
    ledger.open_gate()
    run.has_said("is replaced", 2)
    after = started(run, 4)
    assert len(after) == 2
    assert not set(after) & set(before)
    assert f"end {row.pk}" in ledger.lines
    until(no_job_is_left)
    # One by one: the first has ended when the second is told. The second worker may log that it has stopped
    # before the supervisor logs that it was told.
    told, told_next = [n for n, line in enumerate(run.lines) if "is replaced" in line]
    first = run.lines[told].split("Worker ")[1].split()[0]
    [stopped] = [n for n, line in enumerate(run.lines) if line.rstrip().endswith(f"Worker {first} stopped")]
    assert told_next > stopped
    assert run.stop() == 0


def test_a_worker_that_is_replaced_in_a_job_that_does_not_end_is_killed_and_the_job_released(work, ledger):
    run = work("--processes", "1", delayed={"SHUTDOWN_TIMEOUT": 0.3}, **hangup(signal.SIG_DFL))
    [before] = started(run, 1)
    row = Gated.perform_later(str(ledger), str(ledger.gate))
    ledger.has(f"begin {row.pk}")
    run.send(signal.SIGHUP)
    started(run, 2)
    assert not is_alive(before)
    ledger.has(f"begin {row.pk}", times=2)
    assert DelayedJob.objects.get().attempts == 1
    ledger.open_gate()
    until(no_job_is_left)
    assert run.stop() == 0


def test_a_job_that_asks_whether_to_stop_is_told_when_its_worker_is_replaced(work, ledger):
    run = work("--processes", "1", **hangup(signal.SIG_DFL))
    started(run, 1)
    row = Looking.perform_later(str(ledger))
    ledger.has(f"begin {row.pk}")
    run.send(signal.SIGHUP)
    # The next worker is not being stopped, and performs the same job, which is still in its first attempt.
    ledger.has(f"begin {row.pk}", times=2)
    assert ledger.lines == [f"begin {row.pk}", f"told {row.pk}", f"begin {row.pk}"]
    assert DelayedJob.objects.get().attempts == 1
    assert run.stop() == 0


@pytest.mark.parametrize("sleep_delay", ["0.1", "0"])
def test_a_worker_that_has_performed_its_number_is_replaced(command, ledger, sleep_delay):
    enqueue_all([Note(str(ledger), "done") for _ in range(7)])
    run = command("jobs_work", "--max-jobs", "3", "--sleep-delay", sleep_delay)
    ledger.has("done", times=7)
    run.has_said("Worker [0-9a-f]{32} started", 3)
    assert len(run.said("3 jobs performed: another worker replaces this one")) == 2
    assert not run.said("WARNING|ERROR")
    assert (run.ends() if sleep_delay == "0" else run.stop()) == 0
    assert nothing_is_held()


def test_a_worker_that_has_taken_too_much_memory_is_replaced(command, ledger):
    enqueue_all([Hoard(str(ledger), 300), Note(str(ledger), "done")])
    run = command("jobs_work", "--max-memory", "250", "--read-ahead", "1")
    ledger.has("done")
    run.has_said(r"\d{3} MB taken: another worker replaces this one")
    run.has_said("Worker [0-9a-f]{32} started", 2)
    assert run.stop() == 0


def test_hangup_that_was_ignored_stays_ignored(command):
    run = command("jobs_work", **hangup(signal.SIG_IGN))
    before = started(run, 1)
    run.send(signal.SIGHUP)
    assert run.stop() == 0
    assert not run.said("is replaced")
    assert len(run.said("Worker [0-9a-f]{32} started")) == len(before) == 1


def test_they_end_when_nothing_is_left_to_do(command, ledger):
    enqueue_all([Note(str(ledger), "done") for _ in range(30)])
    run = command("jobs_work", "--processes", "3", "--sleep-delay", "0")
    assert run.ends() == 0
    assert ledger.lines == ["done"] * 30
    assert nothing_is_held()
    assert not workers()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="counts sessions as PostgreSQL does")
def test_idle_workers_have_one_connection_each_and_the_supervisor_one(work):
    before = sessions()
    run = work("--processes", "3")
    started(run, 3)
    until(lambda: sessions() - before == 4)
    assert run.stop() == 0


FOREVER = 10**12  # seconds: if a sleep ends, something has ended it


@pytest.mark.django_db(transaction=True)
def test_the_supervisor_of_an_idle_worker_sleeps_until_the_worker_has_work_or_ends(
    runs, tmp_path, monkeypatch
):
    asleep, awake = tmp_path / "asleep", tmp_path / "awake"
    runs(
        f"import os, sys, time; sys.path[:] = {sys.path!r}\n"
        "from django_delayed.worker.activity import Activity\n"
        "from django_delayed.worker.configuration import ENVIRONMENT_VARIABLE, Start\n"
        "from django_delayed.worker.wakeup import wake\n"
        "start = Start.load(os.environ[ENVIRONMENT_VARIABLE])\n"
        "activity = Activity(start.activity)\n"
        "def wait_for(path):\n"
        "    while not os.path.exists(path): time.sleep(0.01)\n"
        "    os.unlink(path)\n"
        "activity.be_ready()\n"
        f"wait_for({str(asleep)!r})\n"
        "activity.begin_work(); wake(start.wakeup)\n"
        f"wait_for({str(awake)!r})\n"
        "activity.end_work()\n"
        f"wait_for({str(asleep)!r})\n"
    )
    pauses, deadline = [], time.monotonic() + PATIENCE

    def wait(wakeup, seconds, fd=None, real=Wakeup.wait):
        if seconds != (pauses or [TICK])[-1]:
            pauses.append(seconds)
            (asleep if seconds == FOREVER else awake).touch()
        # Otherwise a worker that cannot start would be started again and again.
        assert time.monotonic() < deadline
        real(wakeup, min(seconds, PATIENCE), fd)

    monkeypatch.setattr(manager, "IDLE_TICK", FOREVER)
    monkeypatch.setattr(Wakeup, "wait", wait)
    Supervisor([Configuration(sleep_delay=timedelta(0))], check=lambda: None).run()
    assert pauses == [FOREVER, TICK, FOREVER, TICK]
