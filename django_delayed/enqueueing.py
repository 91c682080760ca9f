"""From a Job to its row: options, hooks, one or many rows with one INSERT, in which transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections, transaction

from .conf import settings
from .databases import (
    DatabaseNow,
    check_sizes,
    database,
    in_callers_transaction,
    insert,
    open_transactions,
    split,
)
from .options import Options, check_options, choose_options
from .reports import is_refused, mark
from .signals import job_enqueued

if TYPE_CHECKING:
    from .jobs import Job
    from .models import DelayedJob
    from .states import DelayedJobQuerySet

NOW: Any = DatabaseNow()

Pairs = Sequence[tuple["Job", "DelayedJob"]]


class Inline(Protocol):
    """Jobs that are performed where they are enqueued: the setting DELAY_JOBS."""

    def is_delayed(self, row: DelayedJob) -> bool:
        """Whether the setting leaves the job of this unsaved row to a worker."""

    def perform_inline(self, job: Job, row: DelayedJob) -> None:
        """Perform the job at once. Raises its error."""


# What performs jobs lies above this module: the app puts it here when it is ready.
inline: Inline | None = None


def enqueue(job: Job, **options: Any) -> DelayedJob | None:
    """Write the job down, in the transaction that is open on the queue's database; see the setting ENQUEUE.

    Options: `queue`, `priority` (lower runs first), `run_at` or `wait_until` (an aware datetime), `wait` (a
    timedelta or seconds), `max_attempts`, `max_run_time` (a timedelta or seconds). Each is a value or a
    function that returns one. Returns the row; None when the job's `before_enqueue` returned False, and while
    the failure of a job is reported that was enqueued by such a report itself. Raises TypeError, ValueError
    or SerializationError, before any SQL, for a job that no worker could perform.
    """
    return enqueue_all([job], **options)[0]


def enqueue_at_once(job: Job) -> DelayedJob | None:
    """As `enqueue`, for a caller who needs the id of the row now: it does not wait for a commit."""
    mode = settings.ENQUEUE if settings.ENQUEUE == "immediate" else "transaction"
    return _enqueue([job], {}, mode)[0]


def enqueue_all(jobs: Iterable[Job], **options: Any) -> list[DelayedJob | None]:
    """Write many jobs down with one INSERT. Options and errors are those of `enqueue`.

    Returns the rows in the order of the jobs; None for each job that is not enqueued, as from `enqueue`.
    """
    checked = check_options(options)
    if not isinstance(jobs, Iterable):
        raise TypeError(f"enqueue_all() takes many jobs, as in enqueue_all([MyJob(…), …]), not {jobs!r}.")
    return _enqueue(jobs, checked, settings.ENQUEUE)


def _enqueue(jobs: Iterable[Job], options: Options, mode: str | None) -> list[DelayedJob | None]:
    if is_refused():
        return [None for _ in jobs]
    pairs: list[tuple[Job, DelayedJob | None]] = []
    try:
        pairs.extend((job, build_row(job, options)) for job in jobs)
        _place([(job, row) for job, row in pairs if row is not None], mode)
    except BaseException as error:
        for job, row in reversed(pairs):
            if row is not None:
                job.enqueue_failed(error)
        raise
    return [row for _, row in pairs]


def build_row(job: Job, options: Options) -> DelayedJob | None:
    """The unsaved row of a job; None when one of its hooks does not want it."""
    if isinstance(job, type) or not hasattr(job, "before_enqueue"):
        raise TypeError(f"enqueue() takes an instance of a Job, as in enqueue(MyJob(…)), not {job!r}.")
    if not job.begin_enqueue():
        return None
    try:
        return _row_of(job, options)
    except BaseException as error:
        job.enqueue_failed(error)
        raise


def _row_of(job: Job, options: Options) -> DelayedJob:
    chosen = choose_options((job.class_options(), *job.layers, options), job.target)
    queue = chosen.get("queue", settings.DEFAULT_QUEUE)
    of_queue = settings.QUEUE_ATTRIBUTES.get(queue, {})
    attempts = chosen.get("max_attempts") or job.max_attempts or of_queue.get("max_attempts")
    row: DelayedJob = _model()(
        queue=queue,
        priority=chosen.get("priority", of_queue.get("priority", settings.DEFAULT_PRIORITY)),
        run_at=DatabaseNow(plus=chosen["wait"]) if "wait" in chosen else chosen.get("run_at", NOW),
        max_attempts=attempts or settings.MAX_ATTEMPTS,
        created_at=NOW,
        **{"extras": mark(), **job.row_values(chosen.get("max_run_time"))},
    )
    return row


def all_rows() -> DelayedJobQuerySet:
    """All delayed jobs, in the database of the queue, as in `models`, which the front may not import."""
    rows: DelayedJobQuerySet = _model().objects.using(settings.DATABASE)
    return rows


def _model() -> Any:
    return apps.get_model("django_delayed", "DelayedJob")


def _place(pairs: Pairs, mode: str | None) -> None:
    """Insert the rows, but perform at once the jobs that DELAY_JOBS does not delay."""
    at_once: Pairs = ()
    if settings.DELAY_JOBS is not True:
        asked = [(pair, _inline().is_delayed(pair[1])) for pair in pairs]
        at_once = [pair for pair, is_delayed in asked if not is_delayed]
        pairs = [pair for pair, is_delayed in asked if is_delayed]
    if pairs:
        # Now, and not when a transaction has committed: the caller is there to see the error.
        check_sizes(connections[settings.DATABASE], [row for _, row in pairs])
        _MODES[mode](pairs)
    for job, row in at_once:
        _inline().perform_inline(job, row)


def _inline() -> Inline:
    if inline is None:
        raise ImproperlyConfigured(
            "DELAY_JOBS has jobs performed at once, which needs django_delayed to be ready: put it before the"
            " app whose ready() enqueues them, in INSTALLED_APPS."
        )
    return inline


# Where and when the INSERT happens: the setting ENQUEUE.


def _insert(pairs: Pairs) -> None:
    _write([row for _, row in pairs])
    _notify(pairs)


def _insert_with_the_data(pairs: Pairs) -> None:
    """Insert in the caller's transaction where the queue takes part in it, and on its commit otherwise."""
    alias = settings.DATABASE
    # Of several transactions, that on "default" is taken for the one of the data.
    is_beside_data = alias == DEFAULT_DB_ALIAS and connections[alias].in_atomic_block
    # With one database there is no other to look for.
    if is_beside_data or len(connections.settings) == 1 or open_transactions(alias) <= {alias}:
        _insert(pairs)
    else:
        _insert_on_commit(pairs)


def _insert_on_commit(pairs: Pairs) -> None:
    """Insert when every transaction that is open now has committed; never if one is rolled back."""
    waiting = open_transactions(settings.DATABASE)

    def committed(alias: str) -> None:
        waiting.discard(alias)
        if not waiting:
            _insert(pairs)

    for alias in list(waiting):
        transaction.on_commit(partial(committed, alias), using=alias)
    if not waiting:
        _insert(pairs)


def _insert_immediately(pairs: Pairs) -> None:
    """Insert on a connection of its own, so that the job outlives a rollback of the caller."""
    alias = settings.DATABASE
    connection = connections[alias]
    if connection.get_autocommit() and not in_callers_transaction(connection):
        _insert(pairs)
        return
    if not connection.features.has_select_for_update:
        # It locks as a whole: we would wait for ourselves.
        raise ImproperlyConfigured(
            f"DJANGO_DELAYED['ENQUEUE'] = 'immediate' needs a second connection that writes while a "
            f"transaction is open; {connection.display_name} has one writer at a time."
        )
    connections[alias] = separate = connection.copy()
    try:
        _write([row for _, row in pairs])
    finally:
        connections[alias] = connection
        separate.close()
    _notify(pairs)


_MODES: dict[str | None, Callable[[Pairs], None]] = {
    None: _insert_with_the_data,
    "transaction": _insert,
    "on_commit": _insert_on_commit,
    "immediate": _insert_immediately,
}


def _write(rows: list[DelayedJob]) -> None:
    connection = connections[settings.DATABASE]
    chunks = list(split(connection, rows))

    def write() -> None:
        with transaction.atomic(using=connection.alias) if len(chunks) > 1 else nullcontext():
            for chunk in chunks:
                insert(connection, chunk)

    database(connection).repeat_on_conflict(write)


def _notify(pairs: Pairs) -> None:
    # The last first: a hook around an enqueue may put back what it found, as translation.override() does.
    for job, row in reversed(pairs):
        job.enqueued(row)
    for job, row in pairs:
        job.finish_enqueue()
        job_enqueued.send_robust(sender=type(job), delayed_job=row, job=job)
