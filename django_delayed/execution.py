"""Perform one claimed job, and move its row on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from .conf import settings
from .exceptions import JobInterrupted, JobTimeout
from .housekeeping import check_transactions, close, own_connections, signals_kept, tidy, transactions_kept
from .jobs import Job
from .models import DelayedJob
from .outcomes import Discarded, Failed, Finished, Outcome, Released, Retried, choose
from .signals import job_errored, job_failed, job_finished, job_started
from .states import DelayedJobQuerySet
from .timeouts import call_within
from .tracebacks import ErrorText

logger = logging.getLogger("django_delayed")


def perform(row: DelayedJob, loaded: Callable[[Job], None] | None = None) -> Outcome:
    """Perform the job of a row that this process holds; writes nothing. Never raises, whatever the job does.

    `loaded` is told the job before it is performed.
    """
    own = own_connections()
    job_started.send_robust(sender=Job, delayed_job=row)
    try:
        with signals_kept():
            outcome = _attempt(row, own, loaded)
    except JobInterrupted:
        outcome = Released()
        close(own)
    tidy(own)
    return outcome


def _attempt(
    row: DelayedJob, own: list[BaseDatabaseWrapper], loaded: Callable[[Job], None] | None
) -> Outcome:
    job: Job | None = None
    began = time.perf_counter()
    try:
        job = Job.load(row)
        if loaded:
            loaded(job)
        with job.in_surroundings(), transactions_kept():
            result = call_within(job.run_time, row.name, job.run)
        check_transactions(own)
        return Finished(job, time.perf_counter() - began, result)
    except JobInterrupted:
        raise
    except BaseException as error:  # SystemExit too: whatever a job raises is an error of that job
        if isinstance(error, JobTimeout):
            close(own)  # it may have struck in the middle of a statement
        outcome = choose(row, job, error)
        if job is not None:
            _tell(row, job, outcome, error)
        return outcome


def settle(row: DelayedJob, outcome: Outcome) -> bool:
    """Write what came of it. False when the claim was lost meanwhile: then nothing is changed.

    Raises the database's error when that is away; to be called again then.
    """
    if not _move(DelayedJob.objects.using(settings.DATABASE), row, outcome):
        logger.warning("%s is not ours any more; what came of it is dropped", row)
        return False
    _announce(row, outcome)
    return True


def perform_inline(row: DelayedJob) -> None:
    """Perform an unsaved row at once, in the caller's thread and transaction; its error is the caller's."""
    job = Job.load(row)
    with job.in_surroundings():
        job.run()


def _move(jobs: DelayedJobQuerySet, row: DelayedJob, outcome: Outcome) -> bool:
    match outcome:
        case Finished():
            return jobs.finish(row)
        case Released():
            return bool(jobs.release([row]))
        case Retried(wait=wait):
            return _record(outcome.error, lambda error: jobs.reschedule(row, error, wait))
        case Failed() if not settings.DESTROY_FAILED_JOBS:
            return _record(outcome.error, lambda error: jobs.fail(row, error))
        case Failed() | Discarded():
            return jobs.discard_held(row)


def _record(error: ErrorText, move: Callable[[ErrorText], bool]) -> bool:
    """Move with the error's text; with a plainer one where the database refuses it (charset, size)."""
    # Twice as it is: where only the connection was lost, Django has made a new one on the way out.
    for text in (error, error, error.in_ascii()):
        try:
            return move(text)
        except DatabaseError:
            if not _is_there(connections[settings.DATABASE]):
                raise
    return move(error.withheld())


def _is_there(connection: BaseDatabaseWrapper) -> bool:
    # Without its connection, Django's is_usable() raises an AttributeError.
    return connection.connection is not None and connection.is_usable()


def _tell(row: DelayedJob, job: Job, outcome: Outcome, error: BaseException) -> None:
    hooks = [job.on_error, job.on_failure] if isinstance(outcome, Failed) else [job.on_error]
    for hook in hooks:
        try:
            with job.in_surroundings():
                hook(error)
        except JobInterrupted:
            raise
        except BaseException:
            logger.exception("%s: its %s() raised an error, which changes nothing", row, hook.__name__)


def _announce(row: DelayedJob, outcome: Outcome) -> None:
    job = getattr(outcome, "job", None)
    about: dict[str, Any] = {"sender": Job if job is None else type(job), "delayed_job": row, "job": job}
    match outcome:
        case Finished(duration=duration):
            job_finished.send_robust(**about, duration=duration)
        case Retried(error=error) | Discarded(error=error):
            job_errored.send_robust(**about, error=error)
        case Failed(error=error):
            job_errored.send_robust(**about, error=error)
            job_failed.send_robust(**about, error=error)
