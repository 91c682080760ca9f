"""What the tests of a supervisor share."""

import sys

import pytest
from django_delayed.supervisor import process
from django_delayed.worker.wakeup import Wakeup


@pytest.fixture
def runs(monkeypatch):
    """Let the process of a worker run this code."""

    def run(code):
        monkeypatch.setattr(process, "worker_command", lambda: [sys.executable, "-S", "-c", code])

    return run


@pytest.fixture
def wakeup():
    """The sleep of a supervisor."""
    wakeup = Wakeup()
    yield wakeup
    wakeup.close()


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock, which goes on by `clock.now += seconds` alone."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr("time.monotonic", lambda: Clock.now)
    return Clock
