"""A supervisor of several workers, as processes."""

import signal

import pytest
from django.db import connection
from django_delayed import enqueue_all
from django_delayed.models import DelayedJob, WorkerProcess
from tests.playground.jobs import Gated, Hoard, Note
from tests.playground.processes import (
    children_of,
    command,
    is_alive,
    ledger,
    no_job_is_left,
    nothing_is_held,
    until,
    work,
)

__all__ = ["command", "ledger", "work"]


def hangup(action):
    """Start a process with this action for SIGHUP, whatever that of the tests is: nohup ignores it."""
    return {"preexec_fn": lambda: signal.signal(signal.SIGHUP, action)}


def workers():
    """The ids of the workers that are there, by the ids of their processes."""
    return {row.pid: row.pk for row in WorkerProcess.objects.all()}


def started(run, times):
    """The workers once so many have started; each process is ended with the test."""
    run.has_said("Worker [0-9a-f]{32} started", times)
    found = until(lambda: set(workers()) == set(children_of(run.pid)) and workers())
    run.children.update(found)
    return found


def test_jobs_are_shared_among_the_workers(work, ledger):
    run = work("--processes", "3")
    assert len(started(run, 3)) == 3
    rows = [Gated.perform_later(str(ledger), str(ledger.gate)) for _ in range(3)]
    # None of them ends before the gate is open: each is in another worker.
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
    assert run.stop() == 0
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
    # The second is told when the successor of the first is up.
    told_twice = [n for n, line in enumerate(run.lines) if "is replaced" in line][1]
    assert sum("started: " in line and "Worker" in line for line in run.lines[:told_twice]) == 3
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


@pytest.mark.parametrize("sleep_delay", ["0.1", "0"])
def test_a_worker_that_has_performed_its_number_is_replaced(command, ledger, sleep_delay):
    enqueue_all([Note(str(ledger), "done") for _ in range(7)])
    run = command("jobs_work", "--max-jobs", "3", "--sleep-delay", sleep_delay)
    ledger.has("done", times=7)
    run.has_said("Worker [0-9a-f]{32} started", 3)
    assert len(run.said("3 jobs performed: another worker takes the place of this one")) == 2
    assert not run.said("WARNING|ERROR")
    assert (run.ends() if sleep_delay == "0" else run.stop()) == 0
    assert nothing_is_held()


def test_a_worker_that_has_taken_too_much_memory_is_replaced(command, ledger):
    enqueue_all([Hoard(str(ledger), 300), Note(str(ledger), "done")])
    run = command("jobs_work", "--max-memory", "250", "--read-ahead", "1")
    ledger.has("done")
    run.has_said(r"\d{3} MB taken: another worker takes the place of this one")
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
    def sessions():
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
            return cursor.fetchone()[0]

    before = sessions()
    run = work("--processes", "3")
    started(run, 3)
    until(lambda: sessions() - before == 4)
    assert run.stop() == 0
