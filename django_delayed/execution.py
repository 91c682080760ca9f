"""Perform one claimed job, and move its row on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, connections, reset_queries
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone, translation

from .conf import settings
from .exceptions import JobInterrupted, JobTimeout
from .jobs import Job
from .models import DelayedJob
from .outcomes import Discarded, Failed, Finished, Outcome, Released, Retried, choose
from .signals import job_errored, job_failed, job_finished, job_started
from .states import DelayedJobQuerySet
from .timeouts import deadline
from .tracebacks import ErrorText

if TYPE_CHECKING:
    from collections.abc import Iterable

logger = logging.getLogger("django_delayed")


def perform(row: DelayedJob, loaded: Callable[[Job], None] | None = None) -> Outcome:
    """Perform the job of a row that this process holds; writes nothing. Never raises, whatever the job does.

    `loaded` is told the job before it is performed.
    """
    job: Job | None = None
    own = _own_connections()
    began = time.perf_counter()
    job_started.send_robust(sender=Job, delayed_job=row, job=None)
    try:
        job = Job.load(row)
        if loaded:
            loaded(job)
        with job.surroundings, deadline(job.run_time, row.name) as alarm:
            result = job.run()
        if alarm.struck:
            raise JobTimeout(f"{row.name} ran longer than its max_run_time, and swallowed the JobTimeout.")
        outcome: Outcome = Finished(job, time.perf_counter() - began, result)
    except JobInterrupted:
        outcome = Released()
        _close(own)
    except BaseException as error:
        # SystemExit and JobTimeout too: whatever a job raises is an error of that job.
        outcome = choose(row, job, error)
        _tell(row, job, outcome, error)
        if isinstance(error, JobTimeout):
            _close(own)  # it may have struck in the middle of a statement
    _tidy(own)
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
    with job.surroundings:
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
    """Move with the error's text; with a plainer one where the database refuses it (its charset, its size)."""
    for text in (error, error.in_ascii()):
        try:
            return move(text)
        except DatabaseError:
            if not connections[settings.DATABASE].is_usable():
                raise
    return move(error.withheld())


def _tell(row: DelayedJob, job: Job | None, outcome: Outcome, error: BaseException) -> None:
    if job is None:
        return
    hooks = [job.on_error, job.on_failure] if isinstance(outcome, Failed) else [job.on_error]
    for hook in hooks:
        try:
            hook(error)
        except Exception:
            logger.exception("%s: its %s() raised an error, which changes nothing", row, hook.__name__)


def _announce(row: DelayedJob, outcome: Outcome) -> None:
    about: dict[str, Any] = {"sender": type(getattr(outcome, "job", None) or Job()), "delayed_job": row}
    match outcome:
        case Finished(job=job, duration=duration):
            job_finished.send_robust(**about, job=job, duration=duration)
        case Retried(job=job, error=error) | Discarded(job=job, error=error):
            job_errored.send_robust(**about, job=job, error=error)
        case Failed(job=job, error=error):
            job_errored.send_robust(**about, job=job, error=error)
            job_failed.send_robust(**about, job=job, error=error)


# The process is left as it was found, for the next job.


def _own_connections() -> list[BaseDatabaseWrapper]:
    """Connections outside any transaction; one inside belongs to a caller (a test), and is left alone."""
    return [connection for connection in connections.all() if not connection.in_atomic_block]


def _tidy(own: Iterable[BaseDatabaseWrapper]) -> None:
    reset_queries()  # with DEBUG on, each connection remembers its last 9,000
    for connection in own:
        if connection.connection is None:
            continue
        if connection.in_atomic_block or not connection.get_autocommit():
            logger.warning("A job left a transaction open on %r; it is rolled back", connection.alias)
            _close([connection])
        elif connection.errors_occurred or connection.settings_dict["CONN_MAX_AGE"]:
            # With Django's default CONN_MAX_AGE of 0 this would connect anew for every job.
            connection.close_if_unusable_or_obsolete()


def _close(own: Iterable[BaseDatabaseWrapper]) -> None:
    for connection in own:
        try:
            connection.close()
        except Exception:
            logger.exception("The connection %r could not be closed", connection.alias)
        # Also after a close inside a transaction, which Django keeps as closed until its block is left.
        connection.connection = None
