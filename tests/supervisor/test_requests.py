"""Requests of operators to the workers of a supervisor, as processes."""

import signal

from django.db.models import Max
from django_delayed import enqueue_all
from django_delayed.models import DelayedJob, Verb, WorkerProcess, WorkerRequest, ask_workers
from tests.playground.jobs import Gated, Note
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

__all__ = ["command", "ledger", "work"]

HANGUP = hangup(signal.SIG_DFL)
IS_QUIET, GOES_ON = "Worker [0-9a-f]{32} is quiet", "Worker [0-9a-f]{32} goes on"


def quiet():
    """Whether each worker says that it is quiet."""
    return [row.quiet for row in WorkerProcess.objects.order_by("pk")]


def test_the_workers_of_a_quiet_supervisor_finish_their_job_and_claim_no_more_until_they_are_resumed(
    work, ledger
):
    run = work("--processes", "2")
    started(run, 2)
    row = Gated.perform_later(str(ledger), str(ledger.gate))
    ledger.has(f"begin {row.pk}")
    run.send(signal.SIGUSR2)
    # The other worker has no job, and is quiet at once.
    run.has_said(IS_QUIET)
    enqueue_all([Note(str(ledger), "later") for _ in range(5)])
    ledger.open_gate()
    run.has_said(IS_QUIET, 2)
    until(lambda: quiet() == [True, True])
    assert f"end {row.pk}" in ledger.lines
    assert "later" not in ledger.lines
    run.send(signal.SIGCONT)
    ledger.has("later", times=5)
    until(no_job_is_left)
    run.has_said(GOES_ON, 2)
    until(lambda: quiet() == [False, False])
    assert run.stop() == 0
    assert nothing_is_held()


def test_sigcont_for_workers_that_are_not_quiet_is_not_logged(work):
    run = work("-v", "2")
    started(run, 1)
    run.send(signal.SIGCONT)
    run.has_said("DEBUG Worker [0-9a-f]{32} is asked by SIGCONT: resume")
    run.send(signal.SIGUSR2)
    run.has_said(IS_QUIET)
    run.send(signal.SIGCONT)
    run.has_said(GOES_ON)
    assert len(run.said("INFO Worker [0-9a-f]{32} is asked by SIGCONT: resume")) == 1
    assert run.stop() == 0


def test_a_worker_that_takes_the_place_of_a_quiet_one_is_quiet(work, ledger):
    run = work(**HANGUP)
    [killed] = started(run, 1)
    run.send(signal.SIGUSR2)
    run.has_said(IS_QUIET)
    enqueue_all([Note(str(ledger), "later")])
    run.send(signal.SIGKILL, to=killed)
    started(run, 2)
    run.has_said(IS_QUIET, 2)
    run.send(signal.SIGHUP)
    started(run, 3)
    run.has_said(IS_QUIET, 3)
    assert quiet() == [True]
    assert ledger.lines == []
    run.send(signal.SIGCONT)
    ledger.has("later")
    assert run.stop() == 0


def test_a_worker_process_hears_the_signals_itself_and_its_successor_is_quiet_too(work, ledger):
    run = work()
    pid = run.child
    started(run, 1)
    run.send(signal.SIGUSR2, to=pid)
    run.has_said(IS_QUIET)
    enqueue_all([Note(str(ledger), "later")])
    run.send(signal.SIGKILL, to=pid)
    [other] = started(run, 2)
    run.has_said(IS_QUIET, 2)
    assert ledger.lines == []
    run.send(signal.SIGCONT, to=other)
    ledger.has("later")
    assert run.stop() == 0


def test_a_worker_does_what_an_operator_asks_of_it_and_the_others_go_on(work, ledger):
    run = work("--pool", "one", "--pool", "two")
    started(run, 2)
    one, two = (WorkerProcess.objects.get(queues=queue).pk for queue in ("one", "two"))
    ask_workers(Verb.QUIET, [one], "ann")
    run.has_said(IS_QUIET)
    assert run.said(f"Worker {one} is asked by ann: quiet")
    until(lambda: not WorkerRequest.objects.exists())
    enqueue_all([Note(str(ledger), "one")], queue="one")
    enqueue_all([Note(str(ledger), "two")], queue="two")
    ledger.has("two")
    until(lambda: dict(WorkerProcess.objects.values_list("pk", "quiet")) == {one: True, two: False})
    assert "one" not in ledger.lines
    ask_workers(Verb.RESUME, [one], "ann")
    ledger.has("one")
    assert run.stop() == 0


def test_a_worker_that_an_operator_stops_is_not_replaced_until_a_hangup(work, ledger):
    run = work("--processes", "2", **HANGUP)
    before = started(run, 2)
    row = Gated.perform_later(str(ledger), str(ledger.gate))
    ledger.has(f"begin {row.pk}")
    stopped = DelayedJob.objects.get().locked_by
    ask_workers(Verb.STOP, [stopped], "ann")
    run.has_said(f"Worker {stopped} was told to stop")
    ledger.open_gate()
    until(lambda: stopped not in workers().values())
    assert f"end {row.pk}" in ledger.lines
    [(pid, worker)] = before.items() & workers().items()
    assert worker != stopped
    run.send(signal.SIGHUP)
    after = started(run, 4)
    assert len(after) == 2
    assert not is_alive(pid)
    assert not set(after) & set(before)
    assert run.stop() == 0


def test_a_supervisor_whose_workers_are_all_stopped_by_an_operator_ends(work):
    run = work("--processes", "2")
    found = started(run, 2)
    ask_workers(Verb.STOP, list(found.values()), "ann")
    assert run.ends() == 0
    assert nothing_is_held()
    assert not WorkerRequest.objects.exists()


def test_a_request_that_no_supervisor_knows_is_removed(work):
    run = work()
    [worker] = started(run, 1).values()
    now = WorkerProcess.objects.aggregate(at=Max("heartbeat_at"))["at"]
    WorkerRequest.objects.create(worker=worker, verb="dance", requested_at=now)
    run.has_said(f"Worker {worker} got an unknown request: 'dance'")
    until(lambda: not WorkerRequest.objects.exists())
    assert run.stop() == 0
    assert len(run.said("Worker [0-9a-f]{32} started")) == 1


def test_jobs_workoff_does_what_an_operator_asks_of_it(command, ledger):
    rows = enqueue_all([Gated(str(ledger), str(ledger.gate)), Note(str(ledger), "later")])
    run = command("jobs_workoff")
    ledger.has(f"begin {rows[0].pk}")
    worker = WorkerProcess.objects.get().pk
    ask_workers(Verb.QUIET, [worker], "ann")
    until(lambda: quiet() == [True])
    ledger.open_gate()
    run.has_said(IS_QUIET)
    assert ledger.lines == [f"begin {rows[0].pk}", f"end {rows[0].pk}"]
    ask_workers(Verb.RESUME, [worker], "ann")
    assert run.ends() == 0
    assert ledger.lines[2:] == ["later"]


def test_a_quiet_worker_with_threads_ends_the_jobs_of_all_of_them(work, ledger):
    run = work("--threads", "2", delayed={"LEASE": 2})
    started(run, 1)
    rows = [Gated.perform_later(str(ledger), str(ledger.gate)) for _ in range(2)]
    for row in rows:
        ledger.has(f"begin {row.pk}")

    def performed():
        return {job[0] for job in WorkerProcess.objects.get().current_jobs if job}

    until(lambda: performed() == {row.pk for row in rows})
    run.send(signal.SIGUSR2)
    until(lambda: quiet() == [True])
    enqueue_all([Note(str(ledger), "later") for _ in range(5)])
    ledger.open_gate()
    run.has_said(IS_QUIET)
    for row in rows:
        ledger.has(f"end {row.pk}")
    until(lambda: WorkerProcess.objects.get().processed == 2)
    assert performed() == set()
    assert "later" not in ledger.lines
    run.send(signal.SIGCONT)
    ledger.has("later", times=5)
    assert run.stop() == 0
    assert nothing_is_held()
