import pytest


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock, which goes on by `clock.now += seconds` alone."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr("time.monotonic", lambda: Clock.now)
    return Clock
