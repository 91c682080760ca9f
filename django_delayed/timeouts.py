"""Stop a job that runs too long."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType

from .exceptions import JobTimeout

AGAIN_AFTER = (
    1.0  # seconds; a single alarm is lost when it strikes in a __del__ or is swallowed by a bare except
)


@dataclass
class Alarm:
    """Whether the time was up while the job ran."""

    armed: bool = True
    struck: bool = False


@contextmanager
def deadline(limit: timedelta, name: str) -> Iterator[Alarm]:
    """Raise JobTimeout in the block once `limit` has passed, and each second again until the block is left.

    Works in a main thread only; elsewhere the block runs as long as it likes, and whoever watches the process has
    to end it.
    """
    alarm = Alarm()
    if threading.current_thread() is not threading.main_thread():
        yield alarm
        return

    def strike(signum: int, frame: FrameType | None) -> None:
        if alarm.armed:
            alarm.struck = True
            raise JobTimeout(f"{name} ran longer than its max_run_time of {limit.total_seconds():g} s.")

    before = signal.signal(signal.SIGALRM, strike)
    # At least a microsecond: a timer of 0 is never armed.
    signal.setitimer(signal.ITIMER_REAL, max(limit.total_seconds(), 1e-6), AGAIN_AFTER)
    try:
        yield alarm
    finally:
        alarm.armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
