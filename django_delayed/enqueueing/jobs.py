"""Enqueue jobs: one, several in one transaction, or any number of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Unpack

from django.core.exceptions import SynchronousOnlyOperation

from ..conf import count, settings
from ..databases.event_loops import running_loop
from ..exceptions import EventLoopRunning
from ..options import JobOptions, Options, check_options
from ..reports import is_refused
from ..serialization.context import current_context
from .rows import build_row
from .writing import place

if TYPE_CHECKING:
    from ..jobs import Job
    from ..models import DelayedJob


_IN_ASYNC_CODE = (
    "Nothing is enqueued, as an event loop runs here. Write await MyJob.aperform_later(…), await"
    " aenqueue(job) or await aenqueue_all(jobs); for a call, await aenqueue(delay(…).method.job(…)); for"
    " anything else, await sync_to_async(function)(…)."
)


def enqueue(job: Job, **options: Unpack[JobOptions]) -> DelayedJob | None:
    """Write the job down, in the transaction that is open on the queue's database; see the setting ENQUEUE.

    Options: `queue`, `priority` (lower runs first), `run_at` or `wait_until` (an aware datetime), `wait` (a
    timedelta or seconds), `max_attempts`, `max_run_time` (a timedelta or seconds), `unique`. Each is a value
    or a function that returns one. Returns the row; None when the job's `before_enqueue` returned False, when
    the job is unique and an equal one waits, and when the job would report the failure of a report. Raises
    TypeError, ValueError or SerializationError, before any SQL, for a job that no worker could perform, and
    EventLoopRunning in async code, where `aenqueue` has to be awaited.
    """
    return _enqueue([job], check_options(options) if options else {}, settings.ENQUEUE)[0]


def enqueue_at_once(job: Job) -> DelayedJob | None:
    """As `enqueue`, for a caller who needs the id of the row now: it does not wait for a commit."""
    mode = settings.ENQUEUE if settings.ENQUEUE == "immediate" else "transaction"
    return _enqueue([job], {}, mode)[0]


def enqueue_in_transaction(job: Job) -> DelayedJob | None:
    """As `enqueue`, in the caller's transaction and for a worker, whatever ENQUEUE and DELAY_JOBS say."""
    return _enqueue([job], {}, "transaction", for_worker=True)[0]


def enqueue_all(jobs: Iterable[Job], **options: Unpack[JobOptions]) -> list[DelayedJob | None]:
    """Write many jobs down in one transaction: all or none. Options and errors are those of `enqueue`.

    Returns the rows in the order of the jobs; None for each job that is not enqueued, as from `enqueue`.
    """
    checked = check_options(options)
    return _enqueue(_check_many("enqueue_all", jobs), checked, settings.ENQUEUE)


def enqueue_many(jobs: Iterable[Job], *, chunk: int = 1000, **options: Unpack[JobOptions]) -> int:
    """Write any number of jobs down, `chunk` at a time: a million take as much memory as one chunk.

    Each chunk is in a transaction of its own, or in the one that the caller has open. After an error, also
    one of the iterable, the chunks before it stay, and nothing of this one is written. Options and errors are
    those of `enqueue`. Returns how many were enqueued: the jobs for which `enqueue_all` would return a row.
    If the setting ENQUEUE makes jobs wait for a commit, all of them are kept in memory until then.
    """
    checked = check_options(options)
    size = count(chunk, "chunk")
    chunks = _chunks(_check_many("enqueue_many", jobs), size)
    number = 0
    try:
        while rows := _enqueue(next(chunks), checked, settings.ENQUEUE):
            number += sum(row is not None for row in rows)
    except Exception as error:
        error.add_note(f"enqueue_many() had enqueued {number:,} jobs before this error.")
        raise
    return number


def _check_many(function: str, jobs: Any) -> Iterable[Job]:
    # Otherwise each letter of a text would be taken for a job, and the error would be about that.
    if not isinstance(jobs, Iterable) or isinstance(jobs, str | bytes):
        raise TypeError(f"{function}() takes many jobs, as in {function}([MyJob(…), …]), not {jobs!r:.200}.")
    return jobs


def _chunks(jobs: Iterable[Job], size: int) -> Iterator[Iterable[Job]]:
    """The jobs, `size` at a time. It never ends: after the last job, the chunks are empty."""
    remaining = iter(jobs)
    while True:
        yield islice(remaining, size)


def _enqueue(
    jobs: Iterable[Job], options: Options, mode: str | None, for_worker: bool = False
) -> list[DelayedJob | None]:
    if is_refused():
        return [None for _ in jobs]
    pairs: list[tuple[Job, DelayedJob | None]] = []
    # The hooks of a job, or the iterable that makes the next one, may activate another language.
    context = current_context()
    try:
        pairs.extend((job, build_row(job, options, context)) for job in jobs)
        duplicates = place([(job, row) for job, row in pairs if row is not None], mode, for_worker)
    except BaseException as error:
        for job, row in reversed(pairs):
            if row is not None:
                job.enqueue_failed(error)
        if isinstance(error, SynchronousOnlyOperation) and running_loop():
            raise EventLoopRunning(_IN_ASYNC_CODE) from error
        raise
    return [None if duplicates and id(row) in duplicates else row for _, row in pairs]
