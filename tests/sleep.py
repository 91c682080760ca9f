"""The wakeup that ends a sleep of the processes of the queue, and the clock."""

import pytest
from django_delayed.worker.wakeup import Wakeup


@pytest.fixture
def wakeup():
    wakeup = Wakeup()
    yield wakeup
    wakeup.close()


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock, which only `clock.now += seconds` moves on."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr("time.monotonic", lambda: Clock.now)
    return Clock
