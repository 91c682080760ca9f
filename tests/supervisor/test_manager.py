"""What a manager does when its worker has ended; the processes are stand-ins, and the clock is the test's."""

from datetime import timedelta
from threading import Event

import pytest
from django_delayed.supervisor import manager
from django_delayed.supervisor.restart import AFTER_A_CRASH, STEADY
from django_delayed.worker.activity import Activity
from django_delayed.worker.configuration import CODE_HAS_CHANGED, DONE, Configuration

FELL = -9


class StandIn:
    """A process that has started up, and ends when it is told its exit code."""

    tasks = ()
    was_killed = had_left = False
    exit_code = None

    def __init__(self, worker, started):
        self.worker = worker
        self.started = started
        self.activity = Activity()
        self.activity.be_ready()

    def decision(self, current, code):
        return None

    def watch(self):
        pass

    def close(self):
        self.activity.close()


class AtOnce:
    """A database that has done each thing as soon as it is requested."""

    def request(self, operation):
        done = Event()
        done.set()
        return done

    def add(self, tasks):
        pass

    def remove(self, tasks):
        pass


@pytest.fixture
def life(clock, monkeypatch):
    """Let the worker live so long and end with this code; returns the seconds until the next is started."""
    started = []

    def start(worker, configuration):
        started.append(StandIn(worker, clock.now))
        return started[-1]

    monkeypatch.setattr(manager, "Process", start)
    managed = manager.WorkerManager(Configuration(), AtOnce())

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
            worker.activity.begin(7, timedelta(hours=1))
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
