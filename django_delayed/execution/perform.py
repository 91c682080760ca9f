"""Perform one claimed job: from its row to an outcome. Nothing is written."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from threading import get_ident

from django.db import Error as DatabaseError
from django.db.transaction import TransactionManagementError

from ..exceptions import JobCancelled, JobInterrupted, JobSnoozed, JobTimeout
from ..features.iteration.cursors import Cursors
from ..features.progress.said import Said
from ..jobs import Job
from ..models import DelayedJob
from ..reports import performing
from ..serialization.context import Context
from ..serialization.errors import begin_at_application, printable
from ..signals import fields_of, tell_started
from .deadline import run_within
from .forks import in_this_process
from .long_jobs import AttemptCursors
from .outcomes import (
    Discarded,
    EndedByError,
    Failed,
    Finished,
    Outcome,
    Released,
    Rescheduled,
    Snoozed,
    class_known,
    decide,
    read_history,
    report_of,
    wait_for_code,
)
from .progress import Reporter
from .session import Session
from .stopping import NEVER, Stop, decide_after_cancel
from .transaction import JobTransaction

logger = logging.getLogger("django_delayed")

# The hooks that an outcome calls with its error.
_ERROR_HOOKS: dict[type[EndedByError], tuple[str, ...]] = {
    Rescheduled: ("on_error",),
    Failed: ("on_error", "on_failure"),
    Discarded: ("after_discard",),
}


def perform(
    row: DelayedJob,
    session: Session,
    on_load: Callable[[Job], None] | None = None,
    stop: Stop = NEVER,
) -> Outcome:
    """Perform the job of a row that this process holds. Never raises, whatever the job does.

    `on_load` is called with the job before it is performed. `stop` answers its `should_stop`.
    """
    with session:
        try:
            return attempt(row, session, on_load, stop)
        except JobInterrupted:
            session.disconnect()
            return _cancel(_Loaded(row, session, stop), None) if stop.is_cancelled() else Released()


def attempt(
    row: DelayedJob,
    session: Session,
    on_load: Callable[[Job], None] | None = None,
    stop: Stop = NEVER,
) -> Outcome:
    """As `perform`, in a session that is open. Raises JobInterrupted."""
    tell_started(row, Job)
    # What a job sets in a ContextVar does not reach the next one.
    return copy_context().run(_attempt, row, session, on_load, stop)


@dataclass
class _Loaded:
    """What an attempt knows of its job, and what the job may ask of it."""

    row: DelayedJob
    session: Session
    stop: Stop
    job: Job | None = None
    context: Context | None = None
    transaction: JobTransaction | None = None
    # The blocks that end with the attempt.
    stack: ExitStack | None = None
    # The thread that performs the job. Another one may be the first to report.
    thread: int = field(default_factory=get_ident)
    reporter: Reporter | None = None

    def should_stop(self) -> bool:
        """Whether the job is to end early."""
        return self.stop.should_stop()

    def begin_long(self, should_stop: Callable[[], bool]) -> Cursors:
        """The cursors of earlier attempts; a job without a row has none."""
        if self.row.pk is None or self.stack is None:
            return Cursors()
        store = AttemptCursors(self.row, self.session, self.stop)
        return self.stack.enter_context(Cursors(store, should_stop))

    def report(self, said: Said) -> None:
        """Note how far the job is. A job without a row has no place for that."""
        if self.reporter is None and self.row.pk is not None and self.stack is not None:
            self.reporter = self.stack.enter_context(Reporter(self.row, self.session, self.thread))
        if self.reporter:
            self.reporter.say(said)


def _attempt(row: DelayedJob, session: Session, on_load: Callable[[Job], None] | None, stop: Stop) -> Outcome:
    loaded = _Loaded(row, session, stop)
    began = time.perf_counter()
    try:
        job = _load_and_run(loaded, on_load)
        # The blocks of the context have ended, and so should transactions that they have begun.
        session.check_transactions()
        return Finished(job, time.perf_counter() - began, loaded.transaction is not None)
    except BaseException as error:
        # SystemExit too: whatever a job raises is an error of that job.
        duration = time.perf_counter() - began
        if (own := loaded.transaction) and (outcome := own.outcome_after(error, duration)):
            return outcome
        if isinstance(error, JobInterrupted):
            raise
        if stop.is_cancelled():
            return _cancel(loaded, error, duration)
        return _end_by(loaded, error, duration)


def _end_by(loaded: _Loaded, error: BaseException, duration: float) -> Outcome:
    """The outcome of an attempt in which the job, or the loading of it, has raised this."""
    row, session = loaded.row, loaded.session
    if isinstance(error, JobSnoozed) and loaded.job:
        try:
            session.check_transactions()
            return Snoozed(loaded.job, error.wait, duration)
        except TransactionManagementError as left_open:
            error = left_open
    if loaded.job is None and (wait := wait_for_code(row, error)) is not None:
        why = printable(str(error))
        what = "%s: %s The job waits for a worker that knows this code or type"
        logger.warning(what, row, why, extra=fields_of(row))
        return Snoozed(None, wait, duration)
    if isinstance(error, JobTimeout):
        session.disconnect()
    begin_at_application(error)
    history = partial(_read, loaded, partial(read_history, row), "the history of its rules")
    outcome = decide(row, loaded.job, error, duration, history)
    with report_of(row, outcome):
        _call_error_hooks(row, outcome, loaded.context)
    return outcome


def _cancel(loaded: _Loaded, error: BaseException | None, duration: float | None = None) -> Outcome:
    if isinstance(error, JobTimeout):
        loaded.session.disconnect()
    # An exception that it has raised in order to end here says nothing.
    cause = None if isinstance(error, JobSnoozed | JobCancelled) else error
    by = _read(loaded, loaded.stop.by, "the name of the operator who ended it") or ""
    row, job = loaded.row, loaded.job
    kind = class_known(row, job)
    return decide_after_cancel(row, by, error=cause, job=job, job_class=kind, duration=duration)


def _load_and_run(loaded: _Loaded, on_load: Callable[[Job], None] | None) -> Job:
    row, session = loaded.row, loaded.session
    with ExitStack() as stack:

        def enter(context: Context) -> None:
            loaded.context = context
            if not context.is_active:
                stack.enter_context(context.active())

        loaded.stack = stack
        loaded.job = job = Job.load(row, enter, loaded)
        if on_load:
            on_load(job)
        with session.callers_transactions_kept(), performing(row):
            run = in_this_process(partial(loaded.stop.perform, job))
            if job.atomic:
                loaded.transaction = JobTransaction(job, row, session)
                loaded.transaction.run(run)
            else:
                run_within(job.run_time, row.name, run)
    return job


def _read(loaded: _Loaded, statement: Callable[[], str], what: str) -> str | None:
    """The result of a statement of the queue; None when the database is unavailable."""
    try:
        with loaded.session.outside():
            return statement()
    except DatabaseError:
        row = loaded.row
        logger.warning("%s: %s cannot be read now", row, what, extra=fields_of(row))
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
