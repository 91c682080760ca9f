"""The outcomes of an attempt as plain values, and the decisions that lead to them. Writes nothing."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import Error as DatabaseError

from ..conf import CENTURY, from_now
from ..exceptions import DeserializationError, JobTimeout, MailRefused, WorkerCrashed
from ..jobs import Job
from ..jobs.classes import class_of
from ..jobs.job import default_wait
from ..reports import reporting
from ..serialization.errors import ErrorText, begin_at_application, describe
from ..signals import fields_of

if TYPE_CHECKING:
    from ..models import DelayedJob

logger = logging.getLogger("django_delayed")

# After so many crashes in a row, a job is given up.
MOST_CRASHES = 3
SECOND_CRASH_WAIT = timedelta(seconds=30)


@dataclass(frozen=True)
class Finished:
    """The job was performed, in `duration` seconds."""

    job: Job
    duration: float


@dataclass(frozen=True)
class EndedByError:
    """The attempt ended with an error, after `duration` seconds, which are None when nobody measured them.

    `job` is None when it could not be loaded, and when the worker died or was killed in it. `job_class` is
    Job when nothing more is known of it.
    """

    job: Job | None
    error: ErrorText
    exception: BaseException = field(kw_only=True)
    job_class: type[Job] = field(kw_only=True, default=Job)
    duration: float | None = field(kw_only=True, default=None)


@dataclass(frozen=True)
class Rescheduled(EndedByError):
    """The attempt failed; the next one is due in `wait`."""

    wait: timedelta


@dataclass(frozen=True)
class Failed(EndedByError):
    """The job is given up."""


@dataclass(frozen=True)
class Discarded(EndedByError):
    """The job raised an error that its `discard_on` names, and is not tried again; this is no failure."""


@dataclass(frozen=True)
class Crashed(EndedByError):
    """The worker's process died in this attempt; the next one is due in `wait`. None: the job is given up."""

    wait: timedelta | None


@dataclass(frozen=True)
class Released:
    """The job was interrupted, or never began; the attempt is not counted."""


Outcome = Finished | Rescheduled | Failed | Discarded | Crashed | Released


def is_given_up(outcome: Outcome | EndedByError) -> bool:
    """Whether the job will not be tried again after its error."""
    return isinstance(outcome, Failed) or (isinstance(outcome, Crashed) and outcome.wait is None)


def report_of(row: DelayedJob, outcome: Outcome) -> AbstractContextManager[None]:
    """The block in which the outcome is reported, by hooks and signals."""
    is_failure = isinstance(outcome, Rescheduled | Failed | Crashed)
    return reporting(row) if is_failure else nullcontext()


def decide(
    row: DelayedJob, job: Job | None, error: BaseException, duration: float | None = None
) -> Rescheduled | Failed | Discarded:
    """The outcome of an attempt that ended with this error. `job` is None when it could not be loaded."""
    text = describe(error, row.name)
    # The record of a job may be gone while its class is not.
    job_class = (class_of(row, Job) or Job) if job is None else type(job)
    how: Any = {"exception": error, "job_class": job_class, "duration": duration}
    # Code and records that are gone do not come back. What else kept the job from being loaded may be over.
    is_gone = job is None and isinstance(error, DeserializationError)
    is_final = is_gone or isinstance(error, MailRefused)
    # While it is loaded, an unavailable database says nothing about the job.
    is_its_own = job is not None or not isinstance(error, DatabaseError)
    # A task has its own; a job has that of its class.
    if is_its_own and isinstance(error, (job_class if job is None else job).discard_on):
        return Discarded(job, text, **how)
    if is_final or row.attempts >= row.max_attempts:
        return Failed(job, text, **how)
    return Rescheduled(job, text, _wait(row, job, error), **how)


def decide_after_crash(row: DelayedJob, why: str) -> Crashed:
    """The outcome of an attempt in which the worker's process died."""
    crash = WorkerCrashed(f"The job did not end: {why}.")
    crashes = row.crashes + 1
    wait = SECOND_CRASH_WAIT if crashes > 1 else timedelta(0)
    is_final = row.attempts >= row.max_attempts or crashes >= MOST_CRASHES
    return Crashed(None, describe(crash, row.name), None if is_final else wait, exception=crash)


def decide_after_kill(row: DelayedJob, limit: timedelta) -> Rescheduled | Failed:
    """The outcome of an attempt whose worker was killed because the job outlived its deadline."""
    seconds = f"{limit.total_seconds():g}"
    timeout = JobTimeout(f"{row.name} ran longer than its max_run_time of {seconds} s, and was killed.")
    error = describe(timeout, row.name)
    if row.attempts >= row.max_attempts:
        return Failed(None, error, exception=timeout)
    return Rescheduled(None, error, min(default_wait(row.attempts), CENTURY), exception=timeout)


def _wait(row: DelayedJob, job: Job | None, error: BaseException) -> timedelta:
    if job is not None:
        try:
            return min(from_now(job.wait_before_retry(row.attempts, error), "wait_before_retry()"), CENTURY)
        except BaseException as broken:
            # A broken method must not lose the job.
            begin_at_application(broken)
            with reporting(row):
                logger.exception(
                    "%s: its wait_before_retry() is broken; the default wait is used",
                    row,
                    extra=fields_of(row),
                )
    return min(default_wait(row.attempts), CENTURY)
