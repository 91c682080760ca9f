"""Stop a job that runs too long."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import TypeVar

from .exceptions import JobInterrupted, JobTimeout

T = TypeVar("T")

# Seconds; a single alarm is lost when it strikes in a __del__, or is swallowed by a bare except.
AGAIN_AFTER = 1.0


@dataclass
class Alarm:
    """One deadline, and whether it has struck."""

    name: str
    limit: timedelta
    due: float  # on the monotonic clock
    struck: bool = False

    def __str__(self) -> str:
        return f"{self.name} ran longer than its max_run_time of {self.limit.total_seconds():g} s"


_alarms: list[Alarm] = []  # those in force, the outermost first


def call_within(limit: timedelta, name: str, function: Callable[[], T]) -> T:
    """What the function returns. Once `limit` has passed, JobTimeout is raised in it, each second anew.

    Raises JobTimeout also when the function has swallowed it. Works in a main thread only; elsewhere the
    function runs as long as it likes, and whoever watches the process has to end it.
    """
    if threading.current_thread() is not threading.main_thread():
        return function()
    alarm = Alarm(name, limit, time.monotonic() + limit.total_seconds())
    try:
        result = _call_with(alarm, function)
    except (JobTimeout, JobInterrupted):
        raise
    except BaseException as error:
        if alarm.struck:
            raise JobTimeout(f"{alarm}, and made another error of the JobTimeout.") from error
        raise
    if alarm.struck:
        raise JobTimeout(f"{alarm}, and swallowed the JobTimeout.")
    return result


def _call_with(alarm: Alarm, function: Callable[[], T]) -> T:
    outer = len(_alarms)
    before = signal.signal(signal.SIGALRM, _strike)
    try:
        try:
            _alarms.append(alarm)
            _set_timer()
            return function()
        finally:
            # No call before this: Python looks for signals at calls, and none may strike outside the job.
            del _alarms[outer:]
    finally:
        _set_timer()
        signal.signal(signal.SIGALRM, before)


def _strike(signum: int, frame: FrameType | None) -> None:
    for alarm in _alarms:
        if alarm.due <= time.monotonic():
            alarm.struck = True
            raise JobTimeout(f"{alarm}.")


def _set_timer() -> None:
    if not _alarms:
        signal.setitimer(signal.ITIMER_REAL, 0)
        return
    soonest = min(alarm.due for alarm in _alarms) - time.monotonic()
    # At least a microsecond: a timer of 0 is never armed. At most three years: the platform has a limit.
    signal.setitimer(signal.ITIMER_REAL, min(max(soonest, 1e-6), 1e8), AGAIN_AFTER)
