"""Connections that the server ends, as a restart or a network would; and what is asked on all of them."""

from contextlib import contextmanager, suppress

import pytest
from django.db import OperationalError, connection, connections
from django.db.backends.signals import connection_created


def end_connection(target):
    """Let the server end this connection."""
    other = connection.copy()
    with other.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_terminate_backend(%s)", [target.connection.info.backend_pid])
        else:
            cursor.execute(f"KILL {target.connection.thread_id()}")
    other.close()


def end_all_connections(*kept):
    """Let the server end all connections to the database but our own and these; returns how many."""
    ours = [id_of(one) for one in kept]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND NOT pid = ANY(%s)",
                [ours],
            )
            return len(cursor.fetchall())
        cursor.execute(
            "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        )
        ids = [id for (id,) in cursor.fetchall() if id not in ours]
        for id in ids:
            # One may have ended by itself meanwhile.
            with suppress(OperationalError):
                cursor.execute(f"KILL {id}")
        return len(ids)


def id_of(target):
    """What the server calls this connection."""
    target.ensure_connection()
    if target.vendor == "postgresql":
        return target.connection.info.backend_pid
    return target.connection.thread_id()


@contextmanager
def wrapped(wrapper):
    """A block in which this wrapper of `execute` is on every connection, those opened meanwhile included."""

    def wrap(connection, **_):
        if wrapper not in connection.execute_wrappers:  # it is there when the connection is opened again
            connection.execute_wrappers.append(wrapper)

    before = connections.all(initialized_only=True)
    for one in before:
        wrap(one)
    connection_created.connect(wrap)
    try:
        yield
    finally:
        connection_created.disconnect(wrap)
        for one in before:
            one.execute_wrappers.remove(wrapper)


needs_server = pytest.mark.skipif(connection.vendor == "sqlite", reason="has no connection to lose")
