"""What a manager does about the process of its worker; here that is a small program instead of a worker."""

import logging
import math
import signal
from datetime import timedelta
from threading import Event

import pytest
from django.db import connection
from django_delayed import enqueue, enqueue_all
from django_delayed.conf import settings as delayed
from django_delayed.models import DelayedJob, Verb, WorkerProcess, WorkerRequest
from django_delayed.supervisor import manager as module
from django_delayed.supervisor.database_thread import DatabaseThread
from django_delayed.supervisor.manager import WorkerManager
from django_delayed.supervisor.restart import AFTER_A_CRASH, STEADY
from django_delayed.worker.activity import Activity
from django_delayed.worker.configuration import CODE_HAS_CHANGED, DONE, Configuration
from django_delayed.worker.heartbeat import SHORTEST_TICK, TICK
from django_delayed.worker.slot import GRACE, Current
from tests.blog.jobs import Plain
from tests.playground.processes import PATIENCE, is_alive, nothing_is_held, until

W1 = "1" * 32
UNTIL_STOPPED = Configuration()
UNTIL_EMPTY = Configuration(sleep_delay=timedelta(0))
NAMELESS = 40  # a real-time signal
FELL = -9
SLEEP = "import time; time.sleep(600)"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def database():
    thread = DatabaseThread([])
    thread.start()
    yield thread
    thread.end(PATIENCE)


@pytest.fixture
def manage_worker(database, wakeup):
    """Make a manager of a worker; its processes are ended with the test."""
    made = []

    def make(configuration=UNTIL_STOPPED):
        made.append(WorkerManager(configuration, database, wakeup))
        return made[-1]

    yield make
    for one in made:
        if one._process:
            one._process.kill("the end of the test")
            until(lambda one=one: one._process.exit_code is not None)
        one.abandon()


@pytest.fixture
def deaf(runs, tmp_path):
    """Let the process of a worker ignore SIGTERM; gives a function that waits until it does."""
    ready = tmp_path / "deaf"
    runs(
        "import pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"pathlib.Path({str(ready)!r}).touch(); time.sleep(600)"
    )
    return lambda: until(ready.exists)


@pytest.fixture
def at_its_commit():
    """Lock a row, like an atomic job that hangs at its commit."""
    other = connection.copy()

    def lock(row):
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(f"DELETE FROM {DelayedJob._meta.db_table} WHERE id = {row.pk}")

    yield lock
    other.rollback()
    other.close()


def ticking(manager, holds):
    """Tick until `holds()` is true; gives its result."""

    def tick():
        manager.tick()
        return holds()

    return until(tick)


def started(manager, but=None):
    """The next process that the manager starts."""
    return ticking(manager, lambda: manager._process is not but and manager._process)


def exited(manager):
    """Tick until the process has ended and the manager has noticed."""
    ended = manager._process
    ticking(manager, lambda: manager._process is not ended)


def test_a_worker_is_registered_before_its_process_starts(runs, manage_worker):
    runs(SLEEP)
    manager = manage_worker()
    manager.tick()
    assert manager._process is None
    worker = started(manager).worker
    assert [row.pk for row in WorkerProcess.objects.all()] == [worker]


def test_its_heartbeats_are_sent_while_it_runs(runs, manage_worker, database):
    runs(SLEEP)
    running = started(manage_worker())
    assert set(running.tasks) <= set(database._tasks)
    until(lambda: WorkerProcess.objects.get().pid == running._popen.pid)


def test_a_manager_whose_worker_has_nothing_left_to_do_starts_no_other(runs, manage_worker):
    runs("import sys; sys.exit(0)")
    manager = manage_worker(UNTIL_EMPTY)
    ticking(manager, lambda: manager.has_ended)
    for _ in range(20):
        manager.tick()
    assert manager._process is None
    assert not WorkerProcess.objects.exists()


def test_what_was_claimed_with_a_job_that_has_become_long_is_released(runs, manage_worker):
    runs(SLEEP)
    manager = manage_worker()
    process = started(manager)
    enqueue_all([Plain(number) for number in range(3)])
    first, *_ = DelayedJob.objects.claim(process.worker, 3)
    for _ in range(2):
        process.activity.slots[0].claim(first.lock_token)
        process.activity.slots[0].begin(first.pk, timedelta(hours=1))
        ticking(manager, lambda: DelayedJob.objects.running().count() == 1)
        assert DelayedJob.objects.running().get() == first
        # Now comes the next batch of the same worker.
        process.activity.slots[0].end()
        manager.tick()
        assert DelayedJob.objects.finish(first)
        first, *_ = DelayedJob.objects.claim(process.worker, 3)


def send_heartbeats(manager):
    """Tick until three more heartbeats of the worker are written."""
    seen = set()

    def see():
        seen.add(WorkerProcess.objects.get(pk=manager.worker).heartbeat_at)
        return len(seen) > 3

    ticking(manager, see)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite locks no single rows")
def test_the_heartbeats_go_on_while_a_job_of_a_batch_is_at_its_commit(
    runs, manage_worker, settings, at_its_commit
):
    settings.DJANGO_DELAYED = {"LEASE": timedelta(seconds=0.6)}
    runs(SLEEP)
    manager = manage_worker()
    process = started(manager)
    enqueue_all([Plain(number) for number in range(3)])
    first, *_ = DelayedJob.objects.claim(process.worker, 3)
    process.activity.slots[0].claim(first.lock_token)
    at_its_commit(first)
    process.activity.slots[0].begin(first.pk, timedelta(hours=1))
    ticking(manager, lambda: DelayedJob.objects.running().count() == 1)
    send_heartbeats(manager)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite locks no single rows")
@pytest.mark.parametrize("ended", ["overlong", "cancelled"])
def test_the_heartbeats_go_on_while_a_job_of_a_thread_that_is_ended_is_at_its_commit(
    deaf, manage_worker, settings, at_its_commit, ended
):
    settings.DJANGO_DELAYED = {"LEASE": timedelta(seconds=0.6), "SHUTDOWN_TIMEOUT": timedelta(hours=1)}
    manager = manage_worker(Configuration(threads=2))
    process = started(manager)
    deaf()
    enqueue_all([Plain(number) for number in range(2)])
    rows = DelayedJob.objects.claim(process.worker, 2)
    limits = (timedelta(hours=ended != "overlong"), timedelta(hours=1))
    for slot, row, limit in zip(process.activity.slots, rows, limits, strict=True):
        slot.claim(row.lock_token)
        slot.begin(row.pk, limit)
    at_its_commit(rows[0])
    if ended == "cancelled":
        request = WorkerRequest(worker=process.worker, verb=Verb.CANCEL, delayed_job_id=rows[0].pk)
        request.lock_token = rows[0].lock_token
        manager.cancel(request)
        [asked] = process.cancelled._asked.values()
        asked.at -= 2 * 3600  # longer ago than SHUTDOWN_TIMEOUT
    ticking(manager, lambda: not manager.is_up)
    send_heartbeats(manager)
    assert process.exit_code is None


@pytest.mark.parametrize("code", [0, 3])
def test_a_worker_that_ended_as_it_should_is_replaced_without_a_log_message(
    runs, manage_worker, caplog, code
):
    runs(f"import sys; sys.stdin.close(); sys.exit({code})")
    manager = manage_worker()
    first = started(manager)
    first.activity.be_ready()
    second = started(manager, but=first)
    assert second.worker != first.worker
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


@pytest.mark.parametrize("code", [0, 3])
def test_a_worker_that_ended_before_it_was_ready_has_failed(runs, manage_worker, caplog, code):
    runs(f"raise SystemExit({code})")
    manager = manage_worker()
    worker = started(manager).worker
    exited(manager)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", f"Worker {worker} ended with exit code {code}")
    ]
    assert not manager._restart.is_due()


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("raise SystemExit(7)", "ended with exit code 7"),
        ("import os; os.kill(os.getpid(), 9)", "was killed by SIGKILL, perhaps out of memory"),
        ("import os; os.kill(os.getpid(), 15)", "was killed by SIGTERM"),
        (f"import os; os.kill(os.getpid(), {NAMELESS})", f"was killed by signal {NAMELESS}"),
    ],
)
def test_a_worker_that_ended_by_itself_is_reported_and_replaced_after_a_pause(
    runs, manage_worker, caplog, code, how
):
    runs(code)
    manager = manage_worker()
    first = started(manager)
    first.activity.be_ready()
    exited(manager)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", f"Worker {first.worker} {how}")
    ]
    assert not WorkerProcess.objects.filter(pk=first.worker).exists()
    assert started(manager, but=first)


def test_a_worker_that_ended_in_a_job_has_crashed_it_and_the_rest_is_released(runs, manage_worker, caplog):
    runs(SLEEP)
    manager = manage_worker()
    running = started(manager)
    running.activity.be_ready()
    for number in range(3):
        enqueue(Plain(number))
    rows = DelayedJob.objects.claim(running.worker, 3)
    running.activity.slots[0].begin(rows[1].pk, timedelta(hours=1))
    running.send_signal(signal.SIGSEGV)
    exited(manager)
    found = DelayedJob.objects.order_by("pk")
    assert [(row.state, row.attempts, row.crashes) for row in found] == [
        ("enqueued", 0, 0),
        ("retrying", 1, 1),
        ("enqueued", 0, 0),
    ]
    assert "its worker was killed by SIGSEGV" in found[1].error_message
    [record] = [record for record in caplog.records if record.getMessage().startswith("Worker")]
    assert record.levelname == "WARNING"
    assert nothing_is_held()


def test_a_worker_that_works_until_nothing_is_left_is_not_replaced(runs, manage_worker):
    runs("raise SystemExit(0)")
    manager = manage_worker(UNTIL_EMPTY)
    started(manager).activity.be_ready()
    exited(manager)
    assert manager.has_ended
    assert nothing_is_held()


@pytest.mark.parametrize("code", [1, 3])
def test_a_worker_that_ended_with_an_error_before_the_queue_was_empty_is_replaced(runs, manage_worker, code):
    runs(f"raise SystemExit({code})")
    manager = manage_worker(UNTIL_EMPTY)
    first = started(manager)
    first.activity.be_ready()
    exited(manager)
    assert not manager.has_ended
    assert started(manager, but=first)


def test_a_job_that_ends_its_process_with_0_does_not_end_the_work(runs, manage_worker):
    runs(SLEEP.replace("600", "0.2"))
    manager = manage_worker(UNTIL_EMPTY)
    first = started(manager)
    first.activity.be_ready()
    enqueue(Plain(1))
    [row] = DelayedJob.objects.claim(first.worker, 1)
    first.activity.slots[0].begin(row.pk, timedelta(hours=1))
    exited(manager)
    assert not manager.has_ended


def test_code_that_cannot_be_loaded_is_waited_for_in_development(runs, manage_worker, settings, caplog):
    settings.DJANGO_DELAYED = {"RELOAD": True}
    runs("raise SystemExit(1)")
    manager = manage_worker()
    started(manager)
    exited(manager)
    assert "Waiting for the code to be repaired" in caplog.text


@pytest.mark.parametrize(
    ("reload", "ready", "code"),
    [
        (False, False, "raise SystemExit(1)"),
        (True, True, "raise SystemExit(1)"),
        (True, False, "import os; os.kill(os.getpid(), 9)"),
    ],
    ids=["in production", "it could be loaded", "it was killed"],
)
def test_otherwise_no_repair_of_code_is_waited_for(
    runs, manage_worker, settings, caplog, reload, ready, code
):
    settings.DJANGO_DELAYED = {"RELOAD": reload}
    runs(code)
    manager = manage_worker()
    running = started(manager)
    if ready:
        running.activity.be_ready()
    exited(manager)
    assert "Waiting for the code to be repaired" not in caplog.text


def test_a_stop_is_passed_on_once_and_the_worker_is_not_replaced(runs, manage_worker, caplog):
    runs(SLEEP)
    caplog.set_level(logging.INFO)
    manager = manage_worker()
    running = started(manager)
    for _ in range(3):
        manager.stop()
    exited(manager)
    assert running.exit_code == -signal.SIGTERM
    ticking(manager, lambda: manager.has_ended)
    assert caplog.messages == [f"Worker {running.worker} was told to stop"]
    assert nothing_is_held()


def test_a_worker_that_is_being_replaced_is_not_told_again_to_stop(deaf, manage_worker, monkeypatch):
    manager = manage_worker()
    running = started(manager)
    deaf()
    sent = []
    monkeypatch.setattr(running, "send_signal", sent.append)
    manager.replace()
    manager.stop()
    assert sent == [signal.SIGTERM]
    running.kill("the end of the test")
    ticking(manager, lambda: manager.has_ended)


def test_a_worker_that_does_not_stop_is_killed_after_the_timeout(deaf, manage_worker, settings):
    settings.DJANGO_DELAYED = {"SHUTDOWN_TIMEOUT": timedelta(milliseconds=1)}
    manager = manage_worker()
    running = started(manager)
    deaf()
    enqueue(Plain(1))
    [row] = DelayedJob.objects.claim(running.worker, 1)
    running.activity.slots[0].begin(row.pk, timedelta(hours=1))
    manager.stop()
    ticking(manager, lambda: manager.has_ended)
    assert not is_alive(running._popen.pid)
    until(nothing_is_held)
    assert [(row.attempts, row.crashes) for row in DelayedJob.objects.all()] == [(0, 0)]


@pytest.mark.parametrize("stopped_before", [True, False])
def test_a_kill_ends_the_worker_now(deaf, manage_worker, stopped_before, caplog):
    manager = manage_worker()
    running = started(manager)
    deaf()
    if stopped_before:
        manager.stop()
    manager.kill()
    assert running.was_killed
    ticking(manager, lambda: manager.has_ended)
    assert nothing_is_held()
    assert "ERROR" not in caplog.text


def test_a_stop_before_the_process_has_started_removes_the_row_of_the_worker(runs, manage_worker, database):
    runs(SLEEP)
    manager = manage_worker()
    manager.tick()
    manager.stop()
    ticking(manager, lambda: manager.has_ended)
    assert database.request(lambda: None).wait(PATIENCE)
    assert manager._process is None
    assert nothing_is_held()


@pytest.mark.parametrize("end", [WorkerManager.stop, WorkerManager.kill])
def test_a_stop_before_anything_asks_nothing_of_the_database(manage_worker, database, end):
    manager = manage_worker()
    database.end(PATIENCE)
    manager.dump_stacks()
    end(manager)
    manager.tick()
    assert manager.has_ended
    assert database._requests == []


def test_after_a_stop_a_database_that_does_not_answer_is_not_waited_for(runs, settings, monkeypatch, wakeup):
    settings.DJANGO_DELAYED = {"SHUTDOWN_TIMEOUT": timedelta(hours=1)}
    monkeypatch.setattr(module, "GRACE", timedelta(0))
    runs(SLEEP)
    database = DatabaseThread([])
    manager = WorkerManager(Configuration(), database, wakeup)
    manager.tick()
    database._requests[0][0].function()
    database._requests[0][1].set()  # from here on, the database does nothing
    started(manager)
    manager.stop()
    assert not manager.has_ended
    # When the process has ended, only the database does not answer.
    ticking(manager, lambda: manager.has_ended)
    manager.abandon()


def test_a_worker_that_is_abandoned_reads_the_end_of_its_pipe(runs, manage_worker, database):
    runs(
        "import json, os, sys; start = json.loads(os.environ['DJANGO_DELAYED_WORKER'])\n"
        "os.read(start['supervisor'], 1)"
    )
    manager = manage_worker()
    running = started(manager)
    assert running.exit_code is None
    manager.abandon()
    assert running._popen.wait(PATIENCE) == 0
    assert not set(running.tasks) & set(database._tasks)
    manager.abandon()
    assert manager._process is None


# How long it waits before it starts the next one; with stand-ins for processes and the test's own clock.


class StandIn:
    """A process that has started up, and ends when it is told its exit code."""

    tasks = ()
    was_killed = had_left = False
    long_job_in = math.inf
    exit_code = None

    def __init__(self, worker, started):
        self.worker = worker
        self.started = started
        self.activity = Activity()
        self.activity.be_ready()
        self.currents = []

    def removal(self, currents, code):
        return lambda: None

    def overdue_threads(self):
        return []

    def watch(self):
        pass

    def end_child(self):
        pass

    def send_signal(self, signum):
        pass

    def kill(self, why):
        pass

    def close(self):
        self.activity.close()


class AtOnce:
    """A stand-in for the database thread, which has done each request at once."""

    def request(self, operation):
        done = Event()
        done.set()
        return done

    def add(self, tasks):
        pass

    def remove(self, tasks):
        pass


@pytest.fixture
def life(clock, monkeypatch, wakeup):
    """Let the worker live so long and end with this code; returns the seconds until the next one starts."""
    started = []

    def start(worker, configuration, wakeup, quiet):
        started.append(StandIn(worker, clock.now))
        return started[-1]

    monkeypatch.setattr(module, "Process", start)
    managed = WorkerManager(Configuration(), AtOnce(), wakeup)

    def start_next():
        count, since = len(started), clock.now
        while len(started) == count:
            managed.tick()
            clock.now += 0.001
        return clock.now - since

    def life(lived, code=FELL, in_a_job=False):
        worker = started[-1]
        clock.now = worker.started + lived
        if in_a_job:
            worker.currents = [Current(7, timedelta(0), timedelta(hours=1))]
        worker.exit_code = code
        return start_next()

    start_next()
    yield life
    started[-1].close()


def test_a_worker_that_ended_after_a_steady_life_is_replaced_at_once(life):
    assert max(life(lived=1) for _ in range(9)) > 3.7
    assert life(lived=STEADY + 1) < 0.2


def test_a_worker_that_ended_in_a_job_is_replaced_soon(life):
    assert max(life(lived=1) for _ in range(9)) > 3.7
    assert life(lived=1, in_a_job=True) < AFTER_A_CRASH + 0.1


@pytest.mark.parametrize("code", [DONE, CODE_HAS_CHANGED])
def test_a_worker_that_ended_as_it_should_is_replaced_at_once(life, code):
    assert max(life(lived=1) for _ in range(9)) > 3.7
    assert life(lived=1, code=code) < 0.1


@pytest.fixture
def unkillable(clock, monkeypatch, wakeup):
    """The manager of a process that no signal ends."""
    made = []
    monkeypatch.setattr(module, "Process", lambda *what: made.append(StandIn(W1, clock.now)) or made[0])
    managed = WorkerManager(UNTIL_STOPPED, AtOnce(), wakeup)
    while not made:
        managed.tick()
    yield managed
    managed.abandon()


@pytest.mark.parametrize("end", [WorkerManager.stop, WorkerManager.kill])
def test_a_process_that_not_even_a_kill_ends_is_not_waited_for(clock, unkillable, end):
    end(unkillable)
    unkillable.tick()
    timeout = delayed.SHUTDOWN_TIMEOUT if end is WorkerManager.stop else timedelta(0)
    clock.now += (timeout + GRACE).total_seconds() - 0.01
    unkillable.tick()
    assert not unkillable.has_ended
    clock.now += 0.02
    unkillable.tick()
    assert unkillable.has_ended


def test_a_second_kill_does_not_put_off_the_end(clock, unkillable):
    unkillable.kill()
    clock.now += GRACE.total_seconds() - 0.01
    unkillable.kill()
    unkillable.tick()
    assert not unkillable.has_ended
    clock.now += 0.02
    unkillable.tick()
    assert unkillable.has_ended


def test_a_manager_is_idle_while_its_worker_is_up_and_has_nothing_to_do(clock, monkeypatch, wakeup):
    made = []
    monkeypatch.setattr(module, "Process", lambda *what: made.append(StandIn(W1, clock.now)) or made[-1])
    managed = WorkerManager(UNTIL_STOPPED, AtOnce(), wakeup)
    assert not managed.is_idle
    while not made:
        managed.tick()
    worker = made[0]
    assert managed.is_idle
    worker.activity.begin_work()
    assert not managed.is_idle
    worker.currents.append(Current(7, timedelta(0), None))
    worker.activity.end_work()
    assert not managed.is_idle
    worker.currents.clear()
    assert managed.is_idle
    worker.exit_code = DONE
    managed.tick()
    assert not managed.is_idle
    managed.tick()
    while len(made) == 1:
        assert not managed.is_idle
        managed.tick()
    assert managed.is_idle
    managed.stop()
    assert not managed.is_idle
    made[-1].exit_code = DONE
    while not managed.has_ended:
        assert not managed.is_idle
        managed.tick()
    assert not managed.is_idle


def test_a_manager_whose_worker_is_to_be_replaced_is_not_idle(clock, monkeypatch, wakeup):
    worker = StandIn(W1, clock.now)
    monkeypatch.setattr(module, "Process", lambda *what: worker)
    managed = WorkerManager(UNTIL_STOPPED, AtOnce(), wakeup)
    while managed._process is None:
        managed.tick()
    assert managed.is_idle
    managed.replace()
    assert not managed.is_idle
    managed.abandon()


def test_a_worker_that_was_told_to_stop_has_no_successor_when_a_thread_of_it_runs_too_long(
    clock, monkeypatch, wakeup
):
    made = []
    monkeypatch.setattr(module, "Process", lambda *what: made.append(StandIn(W1, clock.now)) or made[-1])
    managed = WorkerManager(UNTIL_STOPPED, AtOnce(), wakeup)
    while not made:
        managed.tick()
    managed.stop(for_good=False)
    made[0].overdue_threads = lambda: [lambda: None]
    managed.tick()
    made[0].exit_code = DONE
    for _ in range(9):
        managed.tick()
    assert len(made) == 1
    assert not managed.is_up


@pytest.mark.parametrize(
    ("long_job_in", "next_tick_in"),
    [(math.inf, TICK), (TICK / 2, TICK / 2), (0.001, SHORTEST_TICK), (0, SHORTEST_TICK)],
)
def test_a_manager_looks_again_when_a_job_of_a_batch_has_run_for_long(
    clock, monkeypatch, wakeup, long_job_in, next_tick_in
):
    worker = StandIn(W1, clock.now)
    worker.activity.begin_work()
    worker.long_job_in = long_job_in
    worker.release_batches = lambda: None
    monkeypatch.setattr(module, "Process", lambda *what: worker)
    managed = WorkerManager(UNTIL_STOPPED, AtOnce(), wakeup)
    while not managed.is_up:
        managed.tick()
    assert managed.next_tick_in == next_tick_in
    managed.abandon()


def test_the_release_of_a_batch_is_requested_once_while_the_database_has_not_done_it(
    clock, monkeypatch, wakeup
):
    worker, requests = StandIn(W1, clock.now), []

    class InTime(AtOnce):
        def request(self, operation):
            if operation == worker.release_batches:
                requests.append(Event())
                return requests[-1]
            return super().request(operation)

    worker.release_batches = lambda: None
    worker.long_job_in = 0
    monkeypatch.setattr(module, "Process", lambda *what: worker)
    managed = WorkerManager(UNTIL_STOPPED, InTime(), wakeup)
    for _ in range(9):
        managed.tick()
    assert len(requests) == 1
    requests[0].set()
    managed.tick()
    managed.tick()
    assert len(requests) == 2
    requests[1].set()
    worker.long_job_in = 1
    managed.tick()
    assert len(requests) == 2
    managed.abandon()
