"""Perform one claimed job: from its row to an outcome. Nothing is written."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from contextvars import copy_context
from dataclasses import dataclass

from django.db import Error as DatabaseError
from django.db.transaction import TransactionManagementError

from ..exceptions import JobInterrupted, JobSnoozed, JobTimeout
from ..jobs import Job
from ..models import DelayedJob
from ..reports import performing
from ..serialization.context import Context
from ..serialization.errors import begin_at_application, printable
from ..signals import fields_of, job_started
from .deadline import run_within
from .outcomes import (
    Discarded,
    EndedByError,
    Failed,
    Finished,
    Outcome,
    Released,
    Rescheduled,
    Snoozed,
    decide,
    read_history,
    report_of,
    wait_for_code,
)
from .session import Session

logger = logging.getLogger("django_delayed")

# The hooks that an outcome calls with its error.
_ERROR_HOOKS: dict[type[EndedByError], tuple[str, ...]] = {
    Rescheduled: ("on_error",),
    Failed: ("on_error", "on_failure"),
    Discarded: ("after_discard",),
}


def perform(row: DelayedJob, session: Session, on_load: Callable[[Job], None] | None = None) -> Outcome:
    """Perform the job of a row that this process holds. Never raises, whatever the job does.

    `on_load` is called with the job before it is performed.
    """
    with session:
        try:
            return attempt(row, session, on_load)
        except JobInterrupted:
            session.disconnect()
            return Released()


def attempt(row: DelayedJob, session: Session, on_load: Callable[[Job], None] | None = None) -> Outcome:
    """As `perform`, in a session that is open. Raises JobInterrupted."""
    job_started.send_robust(sender=Job, delayed_job=row)
    # What a job sets in a ContextVar does not reach the next one.
    return copy_context().run(_attempt, row, session, on_load)


@dataclass
class _Loaded:
    """What an attempt knows of its job."""

    job: Job | None = None
    context: Context | None = None


def _attempt(row: DelayedJob, session: Session, on_load: Callable[[Job], None] | None) -> Outcome:
    loaded = _Loaded()
    began = time.perf_counter()
    try:
        job = _load_and_run(row, session, loaded, on_load)
        # What a block of the context has begun is over now.
        session.check_transactions()
        return Finished(job, time.perf_counter() - began)
    except JobInterrupted:
        raise
    except BaseException as error:
        # SystemExit too: whatever a job raises is an error of that job.
        duration = time.perf_counter() - began
        if isinstance(error, JobSnoozed) and loaded.job:
            try:
                session.check_transactions()
                return Snoozed(loaded.job, error.wait, duration)
            except TransactionManagementError as left_open:
                error = left_open
        if loaded.job is None and (wait := wait_for_code(row, error)) is not None:
            why = printable(str(error))
            logger.warning("%s: %s It waits for a worker that knows it", row, why, extra=fields_of(row))
            return Snoozed(None, wait, duration)
        return _fail(row, session, loaded, error, duration)


def _fail(
    row: DelayedJob, session: Session, loaded: _Loaded, error: BaseException, duration: float
) -> Outcome:
    if isinstance(error, JobTimeout):
        session.disconnect()
    begin_at_application(error)
    outcome = decide(row, loaded.job, error, duration, lambda: _read_history(row, session))
    with report_of(row, outcome):
        _call_error_hooks(row, outcome, loaded.context)
    return outcome


def _load_and_run(
    row: DelayedJob, session: Session, loaded: _Loaded, on_load: Callable[[Job], None] | None
) -> Job:
    with ExitStack() as stack:

        def enter(context: Context) -> None:
            loaded.context = context
            if not context.is_active:
                stack.enter_context(context.active())

        loaded.job = job = Job.load(row, enter)
        if on_load:
            on_load(job)
        with session.callers_transactions_kept(), performing(row):
            run_within(job.run_time, row.name, job.run)
    return job


def _read_history(row: DelayedJob, session: Session) -> str | None:
    try:
        with session.outside():
            return read_history(row)
    except DatabaseError:
        logger.warning("%s: what its rules have counted cannot be read now", row, extra=fields_of(row))
        return None


def _call_error_hooks(row: DelayedJob, outcome: EndedByError, context: Context | None) -> None:
    job = outcome.job
    for name in _ERROR_HOOKS[type(outcome)]:
        hook = _hook_of_class(outcome.job_class, name) if job is None else getattr(job, name)
        try:
            with context.active() if context else nullcontext():
                hook(outcome.exception)
        except JobInterrupted:
            raise
        except BaseException as error:
            begin_at_application(error)
            logger.exception(
                "%s: its %s() raised an error, which is ignored", row, name, extra=fields_of(row)
            )


def _hook_of_class(job_class: type[Job], name: str) -> Callable[[BaseException], object]:
    """The hook, if it can be called without a job; else one that does nothing."""
    needs_no_job = isinstance(inspect.getattr_static(job_class, name), classmethod | staticmethod)
    return getattr(job_class, name) if needs_no_job else lambda error: None
