"""What may come of performing a job, as plain values; and how an error becomes one."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import Error as DatabaseTrouble

from .conf import duration
from .jobs import Job
from .tracebacks import ErrorText, describe

if TYPE_CHECKING:
    from .models import DelayedJob

logger = logging.getLogger("django_delayed")

LONGEST_WAIT = timedelta(days=365 * 100)  # what every database can still add to its clock


@dataclass(frozen=True)
class Finished:
    """The job was performed, in `duration` seconds."""

    job: Job
    duration: float
    result: Any = None


@dataclass(frozen=True)
class Retried:
    """The attempt failed; the next one is due in `wait`. `job` is None when it could not be loaded."""

    job: Job | None
    error: ErrorText
    wait: timedelta


@dataclass(frozen=True)
class Failed:
    """The job is given up."""

    job: Job | None
    error: ErrorText


@dataclass(frozen=True)
class Discarded:
    """The job ended with an error that its `discard_on` names."""

    job: Job
    error: ErrorText


@dataclass(frozen=True)
class Released:
    """The job was interrupted, or never began: it goes back with its attempt."""


Outcome = Finished | Retried | Failed | Discarded | Released


def choose(row: DelayedJob, job: Job | None, error: BaseException) -> Retried | Failed | Discarded:
    """The outcome of an attempt that ended with this error. `job` is None when it was not loaded."""
    text = describe(error, row.name)
    if job is not None and isinstance(error, job.discard_on):
        return Discarded(job, text)
    if row.attempts >= row.max_attempts or (job is None and not isinstance(error, DatabaseTrouble)):
        return Failed(job, text)
    return Retried(job, text, _wait(row, job, error))


def _wait(row: DelayedJob, job: Job | None, error: BaseException) -> timedelta:
    usual = Job.wait_before_retry(Job(), row.attempts, error)
    if job is not None:
        try:
            usual = duration(job.wait_before_retry(row.attempts, error), "wait_before_retry()")
        except BaseException:  # a broken policy must not lose the job
            logger.exception("%s: its wait_before_retry() is broken; the usual wait is taken", row)
    return min(duration(usual, "wait"), LONGEST_WAIT)
