"""Stop a job that runs too long."""

from __future__ import annotations

import math
import signal
import threading
import time

# signal.signal() makes enums of what it takes and returns, which takes ten times as long.
from _signal import signal as set_handler  # type: ignore[import-not-found]
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any, TypeVar

from ..exceptions import JobInterrupted, JobTimeout
from ..jobs.event_loop import cancel_innermost

T = TypeVar("T")

# Seconds. One alarm may be lost: Python ignores what is raised in a __del__, and a bare except swallows it.
REPEAT_AFTER = 1.0
# Windows has no alarms. It has no workers either, but jobs are performed inline there.
HAS_ALARMS = hasattr(signal, "setitimer")
_SIGALRM = int(getattr(signal, "SIGALRM", 0))


@dataclass
class Deadline:
    """When a job has to end, and whether it was told to."""

    name: str
    limit: timedelta
    due: float  # on the monotonic clock
    expired: bool = False
    # The class that was raised in the job.
    raised: type[BaseException] = JobTimeout

    def __str__(self) -> str:
        return f"{self.name} ran longer than its max_run_time of {self.limit.total_seconds():g} s"


@dataclass
class CallersAlarm:
    """An alarm that was set before the outermost deadline, such as that of a test which may hang."""

    handler: Any
    due: float  # on the monotonic clock
    interval: float


_deadlines: list[Deadline] = []  # those in force, the outermost first
_callers: CallersAlarm | None = None
_is_undisturbed = False


def run_within(limit: timedelta, name: str, function: Callable[[], T]) -> T:
    """The function's result. Once `limit` has passed, JobTimeout is raised in it, and again each second.

    A coroutine that it waits for is cancelled first, and JobTimeout is raised a second later.

    Raises JobTimeout also if the function has swallowed it, or has switched off the alarm. Works in a main
    thread only. In another thread, and on Windows, the function has no limit, and the process that watches
    this one has to end it. An alarm that the caller has set still goes off.

    A call and not a `with` block: Python handles signals between the last line of a block and its `__exit__`
    too, and a JobTimeout raised there would hit our code instead of the job's.
    """
    if not HAS_ALARMS or threading.current_thread() is not threading.main_thread():
        return function()
    deadline = Deadline(name, limit, time.monotonic() + limit.total_seconds())
    try:
        result = _run(deadline, function)
    except (JobTimeout, JobInterrupted):
        raise
    except BaseException as error:
        if not deadline.expired:
            raise
        if isinstance(error, deadline.raised):
            # It has ended where it was cancelled.
            raise JobTimeout(f"{deadline}.").with_traceback(error.__traceback__) from None
        what = f"{deadline}, and turned the {deadline.raised.__name__} into another error."
        raise JobTimeout(what) from error
    if deadline.expired:
        raise JobTimeout(f"{deadline}, and swallowed the {deadline.raised.__name__}.")
    if time.monotonic() > deadline.due + REPEAT_AFTER:
        raise JobTimeout(f"{deadline}, and had switched off the alarm that ends it.")
    return result


@contextmanager
def undisturbed() -> Iterator[None]:
    """A short block of ours inside a job: neither JobTimeout nor JobInterrupted is raised in it."""
    global _is_undisturbed
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _is_undisturbed = True
    try:
        yield
    finally:
        _is_undisturbed = False


def is_undisturbed() -> bool:
    """Whether the main thread is in an `undisturbed` block."""
    return _is_undisturbed


def _run(deadline: Deadline, function: Callable[[], T]) -> T:
    global _callers
    outer = len(_deadlines)
    before = set_handler(_SIGALRM, _expire)
    try:
        try:
            _deadlines.append(deadline)
            left, interval = _set_timer()
            if left and not outer:
                _callers = CallersAlarm(before, time.monotonic() + left, interval)
                _set_timer()
            return function()
        finally:
            # No call may come before this: Python handles signals at calls, and no JobTimeout may be raised
            # outside the job.
            del _deadlines[outer:]
    finally:
        _set_timer()
        set_handler(_SIGALRM, before)
        if not outer:
            _callers = None


def _expire(signum: int, frame: FrameType | None) -> None:
    if _is_undisturbed:
        # The alarm repeats a second later.
        return
    for deadline in _deadlines:
        if deadline.due <= time.monotonic():
            is_first, deadline.expired = not deadline.expired, True
            if is_first and cancel_innermost(since=deadline.due - deadline.limit.total_seconds()):
                deadline.raised = CancelledError
                return
            deadline.raised = JobTimeout
            raise JobTimeout(f"{deadline}.")
    if _callers and _callers.due <= time.monotonic():
        _ring(_callers, signum, frame)


def _ring(alarm: CallersAlarm, signum: int, frame: FrameType | None) -> None:
    """Pass the alarm on to the caller's handler."""
    alarm.due = alarm.due + alarm.interval if alarm.interval else math.inf
    _set_timer()
    if callable(alarm.handler):
        alarm.handler(signum, frame)


def _set_timer() -> tuple[float, float]:
    """Set the timer for the next alarm. Returns the seconds and the interval that were set before."""
    due = [deadline.due for deadline in _deadlines]
    interval = REPEAT_AFTER
    if _callers and _callers.due < math.inf:
        due.append(_callers.due)
        interval = REPEAT_AFTER if _deadlines else _callers.interval
    if not due:
        return signal.setitimer(signal.ITIMER_REAL, 0)
    # At least a microsecond: 0 would switch the timer off. At most three years: the platform has a limit.
    soonest = min(max(min(due) - time.monotonic(), 1e-6), 1e8)
    return signal.setitimer(signal.ITIMER_REAL, soonest, interval)
