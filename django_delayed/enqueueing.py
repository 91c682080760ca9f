"""From a Job to a row: its options, its hooks, one or many in one INSERT."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.utils import timezone

from .conf import settings
from .databases import database
from .options import check_options, choose_options, evaluate
from .signals import job_enqueued

if TYPE_CHECKING:
    from .jobs import Job
    from .models import DelayedJob

ROWS_AN_INSERT = 1000  # SQLite takes 32,766 variables a statement
BYTES_AN_INSERT = 4 * 1024 * 1024  # MySQL's max_allowed_packet is 16 MiB or more

# Performs a row at once, in this process: the one call upwards. `apps` fills it with execution's.
runner: Callable[[DelayedJob], Any] | None = None


def enqueue(job: Job, **options: Any) -> DelayedJob | None:
    """Write the job down, in the transaction that is open on the queue's database.

    Options: `queue`, `priority` (lower runs first), `run_at` or `wait_until` (an aware datetime), `wait` (a
    timedelta or seconds), each a value or a function that gives one. Returns the row; None when the job's
    `before_enqueue` vetoed. Raises TypeError, ValueError or SerializationError for what a worker could not
    perform, before any SQL.
    """
    return enqueue_all([job], **options)[0]


def enqueue_all(jobs: Iterable[Job], **options: Any) -> list[DelayedJob | None]:
    """Write many jobs down with one INSERT; None stands for each job that its `before_enqueue` vetoed."""
    checked = check_options(options)
    pairs = [(job, write_down(job, checked)) for job in jobs]
    delayed: list[tuple[Job, DelayedJob]] = []
    inline: list[tuple[Job, DelayedJob]] = []
    for job, row in pairs:
        if row is not None:
            (delayed if evaluate(settings.DELAY_JOBS, job) else inline).append((job, row))
    if delayed:
        _MODES[settings.ENQUEUE](delayed)
    for job, row in inline:
        _perform_inline(job, row)
    return [row for _, row in pairs]


def write_down(job: Job, options: dict[str, Any]) -> DelayedJob | None:
    """The unsaved row of a job; None when its `before_enqueue` says False."""
    if isinstance(job, type) or not hasattr(job, "before_enqueue"):
        raise TypeError(f"enqueue() takes an instance of a Job, as in enqueue(MyJob(…)), not {job!r}.")
    if job.before_enqueue() is False:
        return None
    # From the class, as from the job a function would come bound.
    policy = check_options({"queue": type(job).queue, "priority": type(job).priority})
    chosen = choose_options((policy, *job.options, options), about=job.about)
    queue = chosen.get("queue", settings.DEFAULT_QUEUE)
    priority = chosen.get("priority")
    now: Any = timedelta(0)  # as every time given as a timedelta: counted from the database's now
    row: DelayedJob = apps.get_model("django_delayed", "DelayedJob")(
        name=job.name[:255],
        subject=job.subject,
        payload=job.dump(),
        queue=queue,
        priority=_priority_of(queue) if priority is None else priority,
        run_at=chosen.get("run_at") or chosen.get("wait", now),
        max_attempts=job.max_attempts or settings.MAX_ATTEMPTS,
        keep_for=settings.KEEP_FINISHED_FOR,
        created_at=now,
    )
    return row


def _priority_of(queue: str) -> int:
    return settings.QUEUE_ATTRIBUTES.get(queue, {}).get("priority", settings.DEFAULT_PRIORITY)


def _perform_inline(job: Job, row: DelayedJob) -> None:
    if runner is None:
        raise RuntimeError("A job can be performed inline once the apps are ready.")
    row.run_at = row.created_at = timezone.now()
    job.written_down(row)
    runner(row)


# Where and when the INSERT happens: the setting ENQUEUE.

Pairs = Sequence[tuple["Job", "DelayedJob"]]


def _insert(pairs: Pairs) -> None:
    _write([row for _, row in pairs])
    _tell(pairs)


def _insert_on_commit(pairs: Pairs) -> None:
    """Insert once every transaction that is open now has committed; after a rollback of one, never."""
    waiting = {connection.alias for connection in connections.all(True) if connection.in_atomic_block}

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
    if connection.get_autocommit() and not connection.in_atomic_block:
        _insert(pairs)
        return
    if not connection.features.has_select_for_update:  # it locks as a whole: we would wait for ourselves
        raise ImproperlyConfigured(
            f"DJANGO_DELAYED['ENQUEUE'] = 'immediate' needs a second connection that writes while a "
            f"transaction is open; {connection.display_name} has one writer at a time."
        )
    connections[alias] = own = connection.copy()
    try:
        _write([row for _, row in pairs])
    finally:
        connections[alias] = connection
        own.close()
    _tell(pairs)


_MODES = {"transaction": _insert, "on_commit": _insert_on_commit, "immediate": _insert_immediately}


def _write(rows: list[DelayedJob]) -> None:
    alias = settings.DATABASE
    backend = database(connections[alias], type(rows[0]))
    chunks = list(_chunks(rows))

    def insert() -> None:
        with transaction.atomic(using=alias) if len(chunks) > 1 else nullcontext():
            for chunk in chunks:
                backend.insert(chunk)

    backend.retrying(insert)


def _chunks(rows: list[DelayedJob]) -> Iterable[list[DelayedJob]]:
    chunk: list[DelayedJob] = []
    size = 0
    for row in rows:
        if chunk and (len(chunk) == ROWS_AN_INSERT or size + len(row.payload) > BYTES_AN_INSERT):
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += len(row.payload)
    yield chunk


def _tell(pairs: Pairs) -> None:
    for job, row in pairs:
        job.written_down(row)
        job_enqueued.send_robust(sender=type(job), delayed_job=row, job=job)
