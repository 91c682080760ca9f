"""A worker with --isolate performs each job in a process of its own."""

import json
import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import call_command
from django.urls import reverse
from django_delayed import enqueue_all
from django_delayed.execution.session import Session
from django_delayed.models import DelayedJob, WorkerProcess
from django_delayed.operations import CANCEL
from django_delayed.worker import child
from django_delayed.worker import children as module
from django_delayed.worker.shutdown import Shutdown
from tests.playground.isolated import CloseAll, Find, Leave, Parent, Talkative, Where
from tests.playground.jobs import (
    AtomicWork,
    EndlessWorkThatAsks,
    FailingForGood,
    Gated,
    HoldGilForever,
    Looking,
    Note,
    Pill,
    StubbornWork,
)
from tests.playground.models import Effect
from tests.playground.processes import children_of, is_alive, no_job_is_left, nothing_is_held, until
from tests.playground.tasks import add
from tests.playground.waiting import PATIENCE

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="/proc is not available")


@pytest.fixture
def isolate(work):
    """Start a worker that performs each job in a process of its own; gives it and its process."""

    def start(*arguments, **options):
        host = work("--isolate", *arguments, **options)
        host.has_said("Worker .* started")
        return host, host.child

    return start


def words_of(ledger, first):
    """The numbers that the jobs have written after this word, line by line."""
    lines = [line.split() for line in ledger.lines]
    return [tuple(map(int, words)) for word, *words in lines if word == first]


def processes_of(ledger, host):
    """Wait for the processes that the job Parent writes down; gives them.

    If they do not end by themselves, they are ended with the test: they hold the pipe that is read here.
    """
    [processes] = until(lambda: words_of(ledger, "processes"))
    host.children.update(processes)
    return processes


def all_are_gone(*processes):
    return not any(map(is_alive, processes))


def all_have_failed():
    return DelayedJob.objects.failed().count() == DelayedJob.objects.count()


def test_each_job_has_a_process_of_its_own_in_a_group_of_its_own(isolate, ledger):
    enqueue_all([Where(str(ledger)) for _ in range(3)])
    host, worker = isolate()
    until(no_job_is_left)
    where = words_of(ledger, "where")
    assert len({pid for pid, _, _ in where}) == 3
    assert [(group, parent) for _, group, parent in where] == [(pid, worker) for pid, _, _ in where]
    assert host.child == worker
    assert host.stop() == 0
    assert nothing_is_held()


def test_the_end_of_a_child_ends_the_sleep_of_its_worker(wakeup, activity, monkeypatch):
    monkeypatch.setattr(module, "prepare", lambda: None)
    children = module.Children(activity, Session(), wakeup, Shutdown())
    children.begin()
    try:
        if not (pid := os.fork()):
            os._exit(0)
        assert wakeup.wait(PATIENCE)
        os.waitpid(pid, 0)
    finally:
        children.end()


def test_the_process_of_a_job_ends_at_once_if_its_worker_has_died_before_it_began():
    if not (pid := os.fork()):
        try:
            # No process is its own parent.
            child._part_from(os.getpid(), 0)
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 1


@needs_proc
def test_what_a_job_leaves_behind_ends_with_its_process(isolate, ledger):
    enqueue_all([Find(str(ledger)), Leave(str(ledger)), Find(str(ledger))])
    host, worker = isolate()
    until(no_job_is_left)
    before, left, after = ledger.lines
    assert left == "left"
    assert after.split()[1] != "0"
    assert json.loads(before.removeprefix("found ")) | {"files": 0} == {
        "hoard": 0,
        "threads": 1,
        "files": 0,
        "environment": False,
        "handled": ["SIGINT", "SIGALRM", "SIGTERM"],
    }
    assert without_numbers(before) == without_numbers(after)
    assert host.child == worker


def without_numbers(line):
    """What a job has found, with only the kinds of its files."""
    found = json.loads(line.removeprefix("found "))
    return found | {"files": [name.split(":")[0] for name in found["files"]]}


@needs_proc
def test_a_process_of_a_job_has_no_file_of_its_worker_but_the_streams_and_the_socket(isolate, ledger):
    Find.perform_later(str(ledger))
    isolate()
    until(no_job_is_left)
    files = without_numbers(ledger.lines[0])["files"]
    assert set(files) <= {"/dev/null", "pipe", "socket"}
    assert files.count("socket") == 1


@needs_proc
def test_a_worker_keeps_no_memory_and_no_files_of_the_jobs_that_it_has_performed(isolate, ledger):
    _, worker = isolate()

    def taken_after(jobs):
        enqueue_all([Leave(str(ledger)) for _ in range(jobs)])
        until(no_job_is_left)
        until(lambda: not children_of(worker))
        pages = int(Path(f"/proc/{worker}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE"), files_of(worker)

    memory, files = taken_after(3)
    more_memory, _ = taken_after(10)
    # Each of these jobs has taken 50 MB.
    assert more_memory - memory < 20_000_000
    # Each time, the worker may still have the pipes of its last job.
    until(lambda: files_of(worker) <= files)


def files_of(process):
    return len(os.listdir(f"/proc/{process}/fd"))


def test_the_signals_are_sent_in_the_process_of_the_job_with_its_exception(isolate, ledger, tmp_path):
    received = tmp_path / "received"
    apps = {"APPS": "tests.playground.isolated.Receivers", "RECEIVED": str(received)}
    Where.perform_later(str(ledger))
    FailingForGood.perform_later()
    host, worker = isolate(environment=apps)
    until(all_have_failed)
    until(lambda: len(received.read_text().splitlines()) == 4)
    lines = [line.split() for line in received.read_text().splitlines()]
    [(where, _, _)] = words_of(ledger, "where")
    first, second = lines[:2], lines[2:]
    assert first == [
        ["started", str(where), "Job", "NoneType", "NoneType"],
        ["finished", str(where), "Where", "Where", "NoneType"],
    ]
    assert [line[:1] + line[2:] for line in second] == [
        ["started", "Job", "NoneType", "NoneType"],
        ["failed", "FailingForGood", "FailingForGood", "ConnectionError"],
    ]
    assert {line[1] for line in second}.isdisjoint({str(where), str(worker)})
    # The worker has no threads of the receivers: with threads, it would have been replaced.
    assert host.child == worker
    assert host.stop() == 0


def test_a_crash_is_announced_in_a_process_of_its_own_too(isolate, ledger, tmp_path):
    received = tmp_path / "received"
    received.touch()
    apps = {"APPS": "tests.playground.isolated.Receivers", "RECEIVED": str(received)}
    Pill.set(max_attempts=1).perform_later(str(ledger), "SIGKILL")
    host, worker = isolate(environment=apps)
    [failed] = until(lambda: [line for line in received.read_text().splitlines() if "failed" in line])
    name, pid, *others = failed.split()
    assert (name, others) == ("failed", ["Job", "NoneType", "WorkerCrashed"])
    assert int(pid) != worker
    assert host.has_said("FAILED permanently with WorkerCrashed")
    Note.perform_later(str(ledger), "next")
    ledger.has("next")
    assert host.child == worker


def test_an_atomic_job_commits_in_its_process(isolate, ledger):
    rows = enqueue_all([AtomicWork(str(ledger)) for _ in range(3)])
    host, worker = isolate()
    until(no_job_is_left)
    until(lambda: not children_of(worker))
    assert Effect.lost(rows) == set()
    assert ledger.effects == {row.pk: 1 for row in rows}
    assert len(host.said("AtomicWork .* COMPLETED")) == 3
    assert host.stop() == 0


@pytest.mark.parametrize("job", [EndlessWorkThatAsks, StubbornWork])
def test_a_job_that_an_operator_ends_is_asked_and_then_killed(isolate, ledger, job):
    row = job.perform_later(str(ledger))
    host, worker = isolate(delayed={"SHUTDOWN_TIMEOUT": 0.5})
    until(lambda: ledger.starts)
    [child] = children_of(worker)
    CANCEL.carry_out([row.pk], by="ann")
    until(all_have_failed)
    until(lambda: all_are_gone(child))
    row.refresh_from_db()
    assert (row.error_class, row.attempts, row.crashes) == ("JobCancelled", 1, 0)
    assert ledger.starts == {row.pk: 1}
    if job is EndlessWorkThatAsks:
        assert host.child == worker
    assert host.stop() == 0
    assert nothing_is_held()


@pytest.fixture(params=["admin", "jobs_cancel"])
def operator(request, monkeypatch, admin_client, admin_user):
    """The name of an operator, and a function that ends a running job as this operator."""
    monkeypatch.setattr("getpass.getuser", lambda: "ann")

    def by_admin(row):
        address = reverse("admin:django_delayed_delayedjob_cancel", args=[row.pk])
        admin_client.post(address, {"confirmed": "yes"})

    def by_command(row):
        call_command("jobs_cancel", row.pk, interactive=False, verbosity=0)

    return (admin_user.get_username(), by_admin) if request.param == "admin" else ("ann", by_command)


def test_a_job_that_asks_learns_by_whom_it_is_ended_and_its_worker_goes_on(isolate, ledger, operator):
    name, end = operator
    row = Looking.perform_later(str(ledger))
    host, worker = isolate()
    ledger.has(f"begin {row.pk}")
    end(row)
    until(all_have_failed)
    row.refresh_from_db()
    assert (row.error_class, row.error_message) == ("JobCancelled", f"Ended by {name}.")
    assert ledger.lines == [f"begin {row.pk}", f"told {row.pk}"]
    Note.perform_later(str(ledger), "next")
    ledger.has("next")
    assert host.child == worker
    assert host.stop() == 0
    assert not host.said("WARNING|ERROR")
    assert nothing_is_held()


def test_a_job_that_an_operator_ends_is_killed_with_what_it_has_started(isolate, ledger, operator):
    name, end = operator
    row = Parent.perform_later(str(ledger))
    host, _ = isolate(delayed={"SHUTDOWN_TIMEOUT": 0.5})
    processes = processes_of(ledger, host)
    end(row)
    until(all_have_failed)
    until(lambda: all_are_gone(*processes))
    row.refresh_from_db()
    assert row.error_message == f"Ended by {name}, and killed as it did not stop within 0.5 s."
    assert (row.error_class, row.attempts, row.crashes) == ("JobCancelled", 1, 0)
    Note.perform_later(str(ledger), "next")
    ledger.has("next")
    assert words_of(ledger, "processes") == [processes]
    assert host.stop() == 0
    assert nothing_is_held()


def test_the_result_of_a_task_is_kept(isolate, ledger):
    row = add.enqueue(str(ledger), 1, 2)
    isolate()
    until(lambda: DelayedJob.objects.finished().exists())
    assert add.get_result(row.id).return_value == 3


def test_the_error_of_a_job_is_written_to_its_row(isolate, ledger):
    FailingForGood.perform_later("odd \N{PILE OF POO}" + "\x1b" * 100_000)
    isolate()
    until(all_have_failed)
    row = DelayedJob.objects.get()
    assert row.error_class == "ConnectionError"
    assert "in perform" in row.last_error
    assert len(row.last_error) > 10_000


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("SIGKILL", "its process was killed by SIGKILL, perhaps out of memory"),
        ("exit code 9", "its process ended with exit code 9"),
        ("exit code 0", "its process ended with exit code 0"),
        ("SIGSEGV", "its process was killed by SIGSEGV"),
    ],
)
def test_a_job_that_kills_its_process_has_crashed_and_its_worker_goes_on(isolate, ledger, kind, reason):
    pill = Pill.perform_later(str(ledger), kind)
    note = Note.perform_later(str(ledger), "next")
    host, worker = isolate()
    ledger.has("next")
    until(lambda: DelayedJob.objects.waiting().filter(crashes=2).exists())
    assert (reason in DelayedJob.objects.get(pk=pill.pk).last_error) is True
    DelayedJob.objects.run_now()
    until(all_have_failed)
    pill.refresh_from_db()
    assert (pill.attempts, pill.crashes, pill.error_class) == (3, 3, "WorkerCrashed")
    assert ledger.lines.count(kind) == 3
    assert not DelayedJob.objects.filter(pk=note.pk).exists()
    assert host.child == worker
    assert host.stop() == 0
    assert nothing_is_held()


@needs_proc
@pytest.mark.parametrize("job", [Talkative, CloseAll])
def test_a_job_that_breaks_the_connection_to_its_worker_has_crashed(isolate, ledger, job):
    job.perform_later(str(ledger))
    host, worker = isolate()
    until(all_have_failed)
    assert DelayedJob.objects.get().error_class == "WorkerCrashed"
    assert host.child == worker


def test_a_job_that_no_alarm_reaches_is_killed_by_its_worker_which_goes_on(isolate, ledger):
    row = HoldGilForever.set(max_attempts=1).perform_later(str(ledger))
    host, worker = isolate()
    ledger.has(f"begin {row.pk}")
    until(all_have_failed)
    row.refresh_from_db()
    assert row.error_class == "JobTimeout"
    assert "was killed" in row.last_error
    host.has_said(f"Job {row.pk} has outlived its max_run_time and does not end; killing it")
    Note.perform_later(str(ledger), "next")
    ledger.has("next")
    assert host.child == worker


def test_a_job_whose_worker_is_killed_ends_with_what_it_has_started_and_comes_again(isolate, ledger):
    row = Parent.perform_later(str(ledger))
    host, worker = isolate()
    first = processes_of(ledger, host)
    host.send(signal.SIGKILL, to=worker)
    until(lambda: all_are_gone(*first))
    until(lambda: len(words_of(ledger, "processes")) == 2)
    row.refresh_from_db()
    assert (row.attempts, row.crashes) == (2, 1)
    assert "its worker was killed by SIGKILL" in row.last_error
    host.send(signal.SIGINT)
    host.send(signal.SIGINT)
    assert host.ends() == 0
    until(lambda: all_are_gone(*words_of(ledger, "processes")[1]))


@needs_proc
def test_a_job_ends_when_its_worker_and_its_supervisor_are_killed(isolate, ledger):
    Gated.perform_later(str(ledger), str(ledger.gate))
    host, worker = isolate()
    [child] = until(lambda: children_of(worker))
    # It is ended with the test, as in `processes_of`.
    host.children.add(child)
    host.send(signal.SIGKILL)
    host.send(signal.SIGKILL, to=worker)
    until(lambda: all_are_gone(child))


def test_a_worker_whose_supervisor_is_killed_finishes_its_job_and_ends(isolate, ledger):
    row = Gated.perform_later(str(ledger), str(ledger.gate))
    host, worker = isolate()
    ledger.has(f"begin {row.pk}")
    host.send(signal.SIGKILL)
    host.process.wait()
    ledger.open_gate()
    until(lambda: all_are_gone(worker))
    assert ledger.lines == [f"begin {row.pk}", f"end {row.pk}"]
    assert nothing_is_held()


def test_an_idle_worker_whose_supervisor_is_killed_ends(isolate):
    host, worker = isolate("--sleep-delay", "3600")
    host.send(signal.SIGKILL)
    until(lambda: all_are_gone(worker))
    assert nothing_is_held()


@pytest.mark.parametrize("gone", ["supervisor", "nobody"])
def test_a_job_that_outlasts_a_stop_is_killed_with_what_it_has_started_and_released(isolate, ledger, gone):
    row = Parent.perform_later(str(ledger))
    host, worker = isolate(delayed={"SHUTDOWN_TIMEOUT": 0.5})
    processes = processes_of(ledger, host)
    host.send(signal.SIGKILL if gone == "supervisor" else signal.SIGTERM)
    until(lambda: all_are_gone(worker, *processes))
    host.process.wait()
    until(nothing_is_held)
    row.refresh_from_db()
    assert (row.attempts, row.crashes, row.last_error) == (0, 0, "")


def test_a_stop_lets_the_job_finish(isolate, ledger):
    row = Gated.perform_later(str(ledger), str(ledger.gate))
    host, _ = isolate()
    ledger.has(f"begin {row.pk}")
    host.send(signal.SIGTERM)
    host.has_said("was told to stop")
    ledger.open_gate()
    assert host.ends() == 0
    assert ledger.lines == [f"begin {row.pk}", f"end {row.pk}"]
    assert nothing_is_held()


def test_a_stop_that_is_sent_to_every_process_lets_the_job_finish(isolate, ledger):
    row = Gated.perform_later(str(ledger), str(ledger.gate))
    host, worker = isolate()
    ledger.has(f"begin {row.pk}")
    for process in (*children_of(worker), worker, host.pid):
        host.send(signal.SIGTERM, to=process)
    host.has_said("was told to stop")
    ledger.open_gate()
    assert host.ends() == 0
    assert ledger.lines == [f"begin {row.pk}", f"end {row.pk}"]
    assert nothing_is_held()


def test_a_job_that_asks_whether_to_stop_is_told(isolate, ledger):
    row = Looking.perform_later(str(ledger))
    host, _ = isolate()
    ledger.has(f"begin {row.pk}")
    assert host.stop() == 0
    row.refresh_from_db()
    assert (row.attempts, row.last_error) == (0, "")
    assert ledger.lines == [f"begin {row.pk}", f"told {row.pk}"]


def test_a_worker_that_has_threads_does_not_fork_and_says_why(work, ledger):
    Note.perform_later(str(ledger), "never")
    handlers = {"shipper": {"()": "tests.playground.isolated.WithThread"}}
    loggers = {"django_delayed": {"handlers": ["shipper"], "level": "INFO"}}
    logging = json.dumps({"version": 1, "handlers": handlers, "loggers": loggers})
    host = work("--isolate", environment={"LOGGING": logging})
    host.has_said("with --isolate forks.*It has threads: log shipper. Let only jobs")
    host.has_said("Worker .* ended with exit code 5")
    assert host.stop() == 0
    assert DelayedJob.objects.get().attempts == 0
    assert ledger.lines == []


def test_a_worker_is_replaced_after_its_last_job_as_without_isolation(isolate, ledger):
    enqueue_all([Where(str(ledger)) for _ in range(5)])
    host, _ = isolate("--max-jobs", "2")
    until(no_job_is_left)
    parents = [parent for _, _, parent in words_of(ledger, "where")]
    assert [parents.count(parent) for parent in dict.fromkeys(parents)] == [2, 2, 1]
    assert host.stop() == 0


def test_a_job_is_claimed_alone(isolate, ledger):
    enqueue_all([Gated(str(ledger), str(ledger.gate)) for _ in range(3)])
    isolate("--read-ahead", "50")
    until(lambda: DelayedJob.objects.running().count() == 1)
    until(lambda: len(ledger.lines) == 1)
    assert DelayedJob.objects.running().count() == 1
    ledger.open_gate()
    until(no_job_is_left)


def test_the_row_of_a_long_job_says_that_it_has_begun(isolate, ledger):
    row = Gated.perform_later(str(ledger), str(ledger.gate))
    isolate()
    until(lambda: DelayedJob.objects.get(pk=row.pk).started_at)
    assert WorkerProcess.objects.stale(timedelta(seconds=30)).count() == 0
    ledger.open_gate()
    until(no_job_is_left)


def test_the_stacks_of_a_job_can_be_seen(isolate, ledger):
    row = Gated.perform_later(str(ledger), str(ledger.gate))
    host, _ = isolate()
    ledger.has(f"begin {row.pk}")
    host.send(signal.SIGQUIT)
    host.has_said(r"jobs\.py., line \d+ in perform")
    ledger.open_gate()
    until(no_job_is_left)
    assert host.stop() == 0
