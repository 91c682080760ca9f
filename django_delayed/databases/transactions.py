"""The transactions that are open when a job is enqueued; those around a test do not count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper


def is_in_testcase(connection: BaseDatabaseWrapper) -> bool:
    """Whether the transaction is that of a Django TestCase, which is never committed."""
    return connection.in_atomic_block and _are_of_testcase(connection)[0]


def open_transactions(queue: str) -> set[str]:
    """The aliases on which the caller has a transaction open; `queue` is the alias of the queue."""
    inside = [connection for connection in connections.all(True) if connection.in_atomic_block]
    aliases = {connection.alias for connection in inside}
    begun = {connection.alias for connection in inside if not all(_are_of_testcase(connection))}
    if begun or len(aliases) < 2:
        return begun or aliases
    # A TestCase opens one on each of its databases, and never commits it. One alias stands for all: the one
    # on which a test captures and runs the callbacks of its data.
    return {DEFAULT_DB_ALIAS} if DEFAULT_DB_ALIAS in aliases else aliases - {queue}


def when_committed(queue: str, function: Callable[[], object]) -> None:
    """Call the function once every transaction that is open has committed; never if one is rolled back."""
    waiting = open_transactions(queue)

    def committed(alias: str) -> None:
        waiting.discard(alias)
        if not waiting:
            function()

    for alias in list(waiting):
        transaction.on_commit(partial(committed, alias), using=alias)
    if not waiting:
        function()


@contextmanager
def beside_transaction(alias: str) -> Iterator[None]:
    """A block in which statements are not part of the transaction that the caller may have open.

    Raises ImproperlyConfigured where that is not possible.
    """
    connection = connections[alias]
    if connection.get_autocommit() and not connection.in_atomic_block:
        yield
        return
    if not connection.features.has_select_for_update:
        # A writer locks the whole database, so we would wait for ourselves.
        raise ImproperlyConfigured(
            f"DJANGO_DELAYED['ENQUEUE'] = 'immediate' needs a second connection that writes while a "
            f"transaction is open; {connection.display_name} has one writer at a time."
        )
    connections[alias] = separate = connection.copy()
    try:
        yield
    finally:
        connections[alias] = connection
        separate.close()


def _are_of_testcase(connection: BaseDatabaseWrapper) -> list[bool]:
    """For each open block, the outermost first, whether it is one around a test."""
    blocks: Any = connection.atomic_blocks
    return [block._from_testcase for block in blocks]
