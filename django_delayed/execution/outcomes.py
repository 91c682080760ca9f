"""The outcomes of an attempt as plain values, and the decisions that lead to them. Writes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import Error as DatabaseError

from ..conf import CENTURY, from_now, settings
from ..conf import duration as as_duration
from ..exceptions import (
    DeserializationError,
    JobExpired,
    JobRetried,
    MailRefused,
    UnknownCode,
    UnknownType,
)
from ..jobs import Job
from ..jobs.payloads import class_of
from ..jobs.rules import History, Retry, default_wait, rule_for
from ..models import all_attempts
from ..reports import reporting
from ..serialization.errors import ErrorText, begin_at_application, describe
from ..signals import fields_of

if TYPE_CHECKING:
    from ..models import DelayedJob

logger = logging.getLogger("django_delayed")

# How often a job is claimed while it waits for a worker that knows its code.
LOOKS_IN_GRACE = 20


@dataclass(frozen=True)
class Finished:
    """The job was performed, in `duration` seconds; `is_moved` when its own transaction has moved its row."""

    job: Job
    duration: float
    is_moved: bool = False


@dataclass(frozen=True)
class Snoozed:
    """The job comes again in `wait`, as it asked after `duration` seconds; the attempt is not counted.

    `job` is None when it waits for a process that knows its code.
    """

    job: Job | None
    wait: timedelta
    duration: float


@dataclass(frozen=True)
class EndedByError:
    """The attempt ended with an error, after `duration` seconds; None when that was not measured.

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
    """The attempt failed; the next one is due in `wait`. `history` is what the rules of the job remember."""

    wait: timedelta
    history: str = field(kw_only=True, default="")


@dataclass(frozen=True)
class Failed(EndedByError):
    """The job is given up."""


@dataclass(frozen=True)
class Discarded(EndedByError):
    """The job raised an error that its `discard_on` names, or was not begun in time; this is no failure."""


@dataclass(frozen=True)
class Cancelled(EndedByError):
    """An operator has ended the job while it ran: it is given up, and this is no failure."""


@dataclass(frozen=True)
class Crashed(EndedByError):
    """The worker's process died in this attempt; the next one is due in `wait`. None: the job is given up."""

    wait: timedelta | None


@dataclass(frozen=True)
class Released:
    """The job was interrupted, or never began; the attempt is not counted."""


@dataclass(frozen=True)
class Interrupted:
    """The worker's process died, as `why` says, after the job got further; not counted, and it goes on."""

    why: str


@dataclass(frozen=True)
class Suspected:
    """The worker's process died in this job or another one; not counted, and it runs alone next."""


Ended = Finished | Snoozed | Rescheduled | Failed | Discarded | Cancelled | Crashed
Outcome = Ended | Released | Interrupted | Suspected


def is_given_up(outcome: Outcome | EndedByError) -> bool:
    """Whether the job will not be tried again after its error, and its row says that it has failed."""
    return isinstance(outcome, Failed | Cancelled) or (isinstance(outcome, Crashed) and outcome.wait is None)


def report_of(row: DelayedJob, outcome: Outcome) -> AbstractContextManager[None]:
    """The block in which the outcome is reported, by hooks and signals."""
    is_failure = isinstance(outcome, Rescheduled | Failed | Crashed)
    return reporting(row) if is_failure else nullcontext()


def decide(
    row: DelayedJob,
    job: Job | None,
    error: BaseException,
    duration: float | None = None,
    read_history: Callable[[], str | None] = lambda: "",
) -> Rescheduled | Failed | Discarded:
    """The outcome of an attempt that ended with this error. `job` is None when it could not be loaded.

    `read_history` is called for a job that has rules. It returns what they remembered before this attempt,
    or None if the database is unavailable: then such a job is not given up.
    """
    asked, error = _asked_for(error)
    text = describe(error, row.name)
    how: Any = {"exception": error, "job_class": class_known(row, job), "duration": duration}
    # While the job is loaded, an error of the database says nothing about the job.
    is_its_own = job is not None or not isinstance(error, DatabaseError)
    # A task has rules of its own; a job has those of its class.
    policy = how["job_class"] if job is None else job
    if is_its_own and not asked and isinstance(error, (*policy.discard_on, JobExpired)):
        return Discarded(job, text, **how)
    rule = rule_for(error, policy.retry_on) if is_its_own else None
    # Inline, there is no row, and only this attempt.
    if row.pk is None or (rule is None and not asked and _is_final(job, error)):
        return Failed(job, text, **how)
    has_rules = bool(policy.retry_on or policy.retry_for)
    history = History.from_json(read_history() if has_rules else "").with_failure(rule, row.locked_at)
    failures = history.failures(rule, row.attempts)
    if failures >= ((rule and rule.attempts) or row.max_attempts):
        return Failed(job, text, **how)
    given = asked.wait if asked else None
    wait = _wait(row, job, rule, failures, error) if given is None else min(given, CENTURY)
    if _is_too_late(policy, history.age(row.locked_at) + timedelta(seconds=duration or 0) + wait):
        return Failed(job, text, **how)
    return Rescheduled(job, text, wait, history=history.to_json() if has_rules else "", **how)


def class_known(row: DelayedJob, job: Job | None) -> type[Job]:
    """The class of the job, also if the job could not be loaded; Job if its class is not known."""
    return (class_of(row, Job) or Job) if job is None else type(job)


def _asked_for(error: BaseException) -> tuple[JobRetried | None, BaseException]:
    """The exception of `retry_job`, and the error that the job was handling; None and any other error."""
    return (error, error.__context__ or error) if isinstance(error, JobRetried) else (None, error)


def wait_for_code(row: DelayedJob, error: BaseException) -> timedelta | None:
    """How long a job waits for a worker that knows its code; None if it does not wait, or no longer.

    While a new version is deployed, workers of the old one meet jobs of the new one.
    """
    grace = settings.UNKNOWN_GRACE
    if not isinstance(error, UnknownCode | UnknownType) or row.locked_at is None:
        return None
    return grace / LOOKS_IN_GRACE if row.locked_at - row.created_at < grace else None


def _is_final(job: Job | None, error: BaseException) -> bool:
    # Code and records that are gone do not come back. Other causes that kept the job from loading may pass.
    is_gone = job is None and isinstance(error, DeserializationError)
    return is_gone or isinstance(error, MailRefused)


def _is_too_late(policy: Job | type[Job], age: timedelta) -> bool:
    """Whether the next attempt would begin after the `retry_for` of the job is over."""
    limit = policy.retry_for
    return limit is not None and age > as_duration(limit, "retry_for")


def read_history(row: DelayedJob) -> str:
    """What the rules of a job remembered before this attempt. This runs a statement of the queue."""
    return all_attempts().history_before(row) if row.last_error else ""


def _wait(
    row: DelayedJob, job: Job | None, rule: Retry | None, failures: int, error: BaseException
) -> timedelta:
    def default(failures: int, error: BaseException) -> timedelta | float:
        # Without a job, there is no method to call.
        return default_wait(failures) if job is None else job.wait_before_retry(failures, error)

    try:
        wait = rule.wait_after(failures, error, default) if rule else default(failures, error)
        return min(from_now(wait, "The wait"), CENTURY)
    except BaseException as broken:
        # A broken method must not lose the job.
        begin_at_application(broken)
        what = f"wait of {rule!r}" if rule and rule.wait else "wait_before_retry()"
        with reporting(row):
            logger.exception(
                "%s: its %s is broken; the default wait is used", row, what, extra=fields_of(row)
            )
        return min(default_wait(failures), CENTURY)
