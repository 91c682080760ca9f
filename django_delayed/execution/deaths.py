"""The outcomes of attempts that ended with the process of their worker. Writes nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from ..conf import CENTURY
from ..exceptions import JobTimeout, WorkerCrashed
from ..jobs.rules import History, default_wait
from ..models import all_cursors
from ..serialization.errors import describe
from ..states import CURSORS
from .outcomes import Crashed, Failed, Interrupted, Rescheduled, Suspected, read_history

if TYPE_CHECKING:
    from ..models import DelayedJob

# After so many crashes in a row, a job is given up.
MOST_CRASHES = 3
SECOND_CRASH_WAIT = timedelta(seconds=30)


def decide_after_death(row: DelayedJob, why: str, was_alone: bool) -> Crashed | Interrupted | Suspected:
    """The outcome when the worker's process died. `was_alone`: it performed no other job at that time."""
    return decide_after_crash(row, why) if was_alone else Suspected()


def decide_after_crash(row: DelayedJob, why: str) -> Crashed | Interrupted:
    """The outcome of an attempt in which the worker's process died. The row has to be up to date."""
    if row.extras & CURSORS and all_cursors().have_moved(row):
        return Interrupted(why)
    crash = WorkerCrashed(f"The job did not end: {why}.")
    crashes = row.crashes + 1
    wait = SECOND_CRASH_WAIT if crashes > 1 else timedelta(0)
    is_final = crashes >= MOST_CRASHES or _has_no_attempt_left(row)
    return Crashed(None, describe(crash, row.name), None if is_final else wait, exception=crash)


def decide_after_kill(row: DelayedJob, limit: timedelta, how: str = "was killed") -> Rescheduled | Failed:
    """The outcome of an attempt that ended, as `how` says, because the job outlived its deadline."""
    seconds = f"{limit.total_seconds():g}"
    timeout = JobTimeout(f"{row.name} ran longer than its max_run_time of {seconds} s, and {how}.")
    error = describe(timeout, row.name)
    if _has_no_attempt_left(row):
        return Failed(None, error, exception=timeout)
    return Rescheduled(None, error, min(default_wait(row.attempts), CENTURY), exception=timeout)


def _has_no_attempt_left(row: DelayedJob) -> bool:
    """Whether the attempts that no rule has counted have reached max_attempts."""
    if row.attempts < row.max_attempts:
        return False
    return History.from_json(read_history(row)).failures(None, row.attempts) >= row.max_attempts
