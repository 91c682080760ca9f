"""Sessions of database connections: put back as they were opened, handed on, or closed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from .base import in_callers_transaction
from .vendors import VENDORS, database

logger = logging.getLogger("django_delayed")


def can_be_kept(connection: BaseDatabaseWrapper) -> bool:
    """Whether jobs can use a session of this database one after the other."""
    return connection.vendor in VENDORS and VENDORS[connection.vendor].RESETS_SESSIONS


def is_in_memory(connection: BaseDatabaseWrapper) -> bool:
    """Whether another connection would find another, empty database: SQLite in memory."""
    # is_in_memory_db() is one of SQLite's connections only.
    return connection.vendor == "sqlite" and connection.is_in_memory_db()  # type: ignore[attr-defined]


def has_open_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Whether the connection has a transaction that is neither committed nor rolled back."""
    if connection.connection is None:
        return False
    # A statement may have begun one that Django does not know about.
    unknown = connection.vendor in VENDORS and database(connection).has_open_transaction()
    return connection.in_atomic_block or not connection.get_autocommit() or unknown


def reset_session(connection: BaseDatabaseWrapper) -> bool:
    """Undo all that was set on the open session, and free its locks. False if it has to be closed instead."""
    if connection.errors_occurred or has_open_transaction(connection) or _is_old(connection):
        return False
    try:
        return database(connection).reset_session()
    except Error:
        return False


def _is_old(connection: BaseDatabaseWrapper) -> bool:
    # A CONN_MAX_AGE of 0, Django's default, would close it after every job.
    max_age, close_at = connection.settings_dict["CONN_MAX_AGE"], connection.close_at
    return bool(max_age) and close_at is not None and time.monotonic() >= close_at


def reopened(connection: BaseDatabaseWrapper) -> BaseDatabaseWrapper:
    """A new connection of Django that opens at its first query, with the session of this one if that is open.

    What was set on the old object, such as the schema of a tenant, is gone with it.
    """
    session = connection.connection
    new = connections.create_connection(connection.alias)
    open_session = new.get_new_connection
    for name in ("isolation_level", "_named_cursor_idx"):
        # Cursors are numbered: one of an earlier job may be closed when Python collects it.
        if hasattr(connection, name):
            setattr(new, name, getattr(connection, name))

    def get_session(params: dict[str, Any]) -> Any:
        # Once: a job may close its connection, and open another.
        del new.get_new_connection
        if session is None:
            return database(new).open_session(open_session, params)
        # CONN_MAX_AGE counts from when the session was opened, however often it is reused.
        new.close_at = connection.close_at
        return session

    # connect() then treats the session as a new one: time zone, role, connection_created.
    new.get_new_connection = get_session  # type: ignore[method-assign,assignment]
    return new


def close(owned: Iterable[BaseDatabaseWrapper]) -> None:
    """Close the connections, whatever state they are in."""
    for connection in owned:
        # In an atomic block, BaseDatabaseWrapper.close() keeps the closed connection until the block is left,
        # and the job's blocks were left without their __exit__.
        connection.in_atomic_block = False
        try:
            connection.close()
        except Exception:
            logger.exception("The connection %r could not be closed", connection.alias)
        connection.connection = None


def close_broken(connection: BaseDatabaseWrapper) -> None:
    """Close a connection that broke while it was idle, so that the next statement opens a new one."""
    if in_callers_transaction(connection) or connection.connection is None:
        return
    if not connection.is_usable():
        close([connection])


def close_old(connection: BaseDatabaseWrapper) -> None:
    """Close a connection that has reached its CONN_MAX_AGE, unless that is 0."""
    if _is_old(connection):
        connection.close_if_unusable_or_obsolete()


@contextmanager
def without_pools() -> Iterator[None]:
    """A block in which new connections do not come from psycopg's pool.

    A worker needs one connection for the queue and one for its job. A pool of one would not give it a second.
    A larger pool opens more than it needs, and hands a session on with all that a job has set on it.
    """
    pooled = {alias: given for alias, given in connections.settings.items() if "pool" in given["OPTIONS"]}
    for alias, given in pooled.items():
        options = {name: option for name, option in given["OPTIONS"].items() if name != "pool"}
        connections.settings[alias] = {**given, "OPTIONS": options}
    try:
        yield
    finally:
        connections.settings.update(pooled)
