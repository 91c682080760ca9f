"""Where and when rows are inserted: the settings ENQUEUE and DELAY_JOBS."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from ..conf import settings
from ..databases import (
    beside_transaction,
    check_sizes,
    database,
    insert,
    open_transactions,
    split,
    when_committed,
)
from ..features.unique.holding import Duplicates, take_keys
from ..signals import fields_of, is_heard, job_enqueued
from .rows import all_rows

if TYPE_CHECKING:
    from ..jobs import Job
    from ..models import DelayedJob

Pairs = Sequence[tuple["Job", "DelayedJob"]]

logger = logging.getLogger("django_delayed")


class Inline(Protocol):
    """Jobs that are performed where they are enqueued: the setting DELAY_JOBS."""

    def is_delayed(self, row: DelayedJob) -> bool:
        """Whether the setting leaves the job of this unsaved row to a worker."""

    def perform_inline(self, job: Job, row: DelayedJob) -> None:
        """Perform the job at once. Raises its error."""


# The code that performs jobs is in a layer above this module, so the app puts it here when it is ready.
inline: Inline | None = None


def place(pairs: Pairs, mode: str | None, for_worker: bool) -> Duplicates:
    """Insert the rows, but perform at once the jobs that DELAY_JOBS does not delay.

    With `for_worker`, DELAY_JOBS is ignored. Returns the duplicates of unique jobs, as far as they are known
    now.
    """
    at_once: Pairs = ()
    if settings.DELAY_JOBS is not True and not for_worker:
        asked = [(pair, _inline().is_delayed(pair[1])) for pair in pairs]
        at_once = [pair for pair, is_delayed in asked if not is_delayed]
        pairs = [pair for pair, is_delayed in asked if is_delayed]
    duplicates: Duplicates = {}
    if pairs:
        # Now, and not when a transaction has committed, so that the caller sees the error.
        check_sizes(connections[settings.DATABASE], [row for _, row in pairs])
        duplicates = _MODES[mode](pairs) or duplicates
    for job, row in at_once:
        _inline().perform_inline(job, row)
    return duplicates


def _inline() -> Inline:
    if inline is None:
        raise ImproperlyConfigured(
            "DELAY_JOBS performs jobs at once, but django_delayed is not ready yet. In INSTALLED_APPS, put it"
            " before the app that enqueues them in its ready()."
        )
    return inline


# Where and when the INSERT happens: the setting ENQUEUE.


def _insert(pairs: Pairs) -> Duplicates | None:
    duplicates = _write([row for _, row in pairs])
    _notify(pairs, duplicates)
    return duplicates


def _insert_with_the_data(pairs: Pairs) -> Duplicates | None:
    """Insert in the caller's transaction where the queue takes part in it, and on its commit otherwise."""
    alias = settings.DATABASE
    # Of several transactions, the one on "default" is taken for that of the data.
    is_beside_data = alias == DEFAULT_DB_ALIAS and connections[alias].in_atomic_block
    # With one database, there is no other one to look at.
    if is_beside_data or len(connections.settings) == 1 or open_transactions(alias) <= {alias}:
        return _insert(pairs)
    return _insert_on_commit(pairs)


def _insert_on_commit(pairs: Pairs) -> Duplicates:
    """Insert when every transaction that is open now has committed; never if one is rolled back."""
    duplicates: Duplicates = {}
    # Now, if none is open.
    when_committed(settings.DATABASE, lambda: duplicates.update(_insert(pairs) or {}))
    return duplicates


def _insert_immediately(pairs: Pairs) -> Duplicates | None:
    """Insert outside of the caller's transaction, so that the job stays after a rollback."""
    with beside_transaction(settings.DATABASE):
        duplicates = _write([row for _, row in pairs])
    _notify(pairs, duplicates)
    return duplicates


_MODES: dict[str | None, Callable[[Pairs], Duplicates | None]] = {
    None: _insert_with_the_data,
    "transaction": _insert,
    "on_commit": _insert_on_commit,
    "immediate": _insert_immediately,
}


def _write(rows: list[DelayedJob]) -> Duplicates | None:
    connection = connections[settings.DATABASE]
    if any(row.wanted_key for row in rows):
        return _write_unique(connection, rows)
    chunks = list(split(connection, rows))

    def write() -> None:
        with transaction.atomic(using=connection.alias) if len(chunks) > 1 else nullcontext():
            for chunk in chunks:
                insert(connection, chunk)

    database(connection).repeat_on_conflict(write)
    return None


def _write_unique(connection: BaseDatabaseWrapper, rows: list[DelayedJob]) -> Duplicates:
    """Write the rows in one transaction, but not those that want a key and get none."""
    given = [dict(row.__dict__) for row in rows]

    def write() -> Duplicates:
        for row, values in zip(rows, given, strict=True):
            # As it was before a conflict.
            row.__dict__.update(values)
        with transaction.atomic(using=connection.alias):
            keys, duplicates = take_keys(all_rows(), rows)
            for chunk in split(connection, [row for row in rows if id(row) not in duplicates]):
                insert(connection, chunk)
            keys.write()
        return duplicates

    return database(connection).repeat_on_conflict(write)


def _notify(pairs: Pairs, duplicates: Duplicates | None) -> None:
    if duplicates:
        _leave_out(pairs, duplicates)
        pairs = [(job, row) for job, row in pairs if id(row) not in duplicates]
    # In reverse order: a hook around an enqueue may put back what it found, as translation.override() does.
    for job, row in reversed(pairs):
        job.enqueued(row)
    for job, row in pairs:
        job.finish_enqueue()
        if is_heard(job_enqueued, logging.DEBUG):
            job_enqueued.send_robust(sender=type(job), delayed_job=row, job=job)


def _leave_out(pairs: Pairs, duplicates: Duplicates) -> None:
    for job, row in reversed(pairs):
        if duplicate := duplicates.get(id(row)):
            logger.debug("%s", duplicate, extra=fields_of(row))
            job.enqueue_failed(duplicate)
