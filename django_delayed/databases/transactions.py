"""The transactions that are open when a job is enqueued; those around a test are nobody's."""

from __future__ import annotations

from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper


def is_in_testcase(connection: BaseDatabaseWrapper) -> bool:
    """Whether the transaction is that of a Django TestCase, which is never committed."""
    return connection.in_atomic_block and _are_of_testcase(connection)[0]


def open_transactions(queue: str) -> set[str]:
    """The aliases on which the caller has a transaction open; `queue` is that of the queue."""
    inside = [connection for connection in connections.all(True) if connection.in_atomic_block]
    aliases = {connection.alias for connection in inside}
    begun = {connection.alias for connection in inside if not all(_are_of_testcase(connection))}
    if begun or len(aliases) < 2:
        return begun or aliases
    # Around a TestCase there is one on each of its databases, which nobody commits. One of them stands for
    # all: that whose callbacks a test runs which captures those of its data.
    return {DEFAULT_DB_ALIAS} if DEFAULT_DB_ALIAS in aliases else aliases - {queue}


def _are_of_testcase(connection: BaseDatabaseWrapper) -> list[bool]:
    """Of each open block, the outermost first, whether it is one around a test."""
    blocks: Any = connection.atomic_blocks
    return [block._from_testcase for block in blocks]
