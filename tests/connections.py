"""Connections: how to open others, end them as a restart would, and see statements on all of them."""

import threading
from concurrent.futures import ThreadPoolExecutor
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


def other_connections(*kept):
    """The server's ids of the connections to the database but our own and these."""
    ids = {
        "postgresql": "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid()",
        "mysql": "SELECT id FROM information_schema.processlist WHERE db = DATABASE()"
        " AND id <> CONNECTION_ID()",
    }
    ours = [id_of(one) for one in kept]
    with connection.cursor() as cursor:
        cursor.execute(ids[connection.vendor])
        return [id for (id,) in cursor.fetchall() if id not in ours]


def sessions():
    """How many connections PostgreSQL has to the database, our own included."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        return cursor.fetchone()[0]


def end_all_connections(*kept):
    """Let the server end all connections to the database but our own and these; returns how many."""
    ids = other_connections(*kept)
    end = {"postgresql": "SELECT pg_terminate_backend({})", "mysql": "KILL {}"}[connection.vendor]
    for id in ids:
        # A connection may have ended by itself meanwhile.
        with suppress(OperationalError), connection.cursor() as cursor:
            cursor.execute(end.format(id))
    return len(ids)


@pytest.fixture
def other():
    """A second connection to the same database, like that of another process."""
    copy = connection.copy()
    yield copy
    copy.close()


@pytest.fixture
def in_thread():
    """Run a function in a thread with its own connections; returns its future. The fixture's end waits."""

    def run(function, *arguments):
        try:
            return function(*arguments)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(max_workers=8) as pool:
        yield lambda function, *arguments: pool.submit(run, function, *arguments)


def id_of(target):
    """The server's ids of this connection."""
    target.ensure_connection()
    if target.vendor == "postgresql":
        return target.connection.info.backend_pid
    return target.connection.thread_id()


@contextmanager
def wrapped(wrapper):
    """A block in which every connection, also one opened meanwhile, has this wrapper of `execute`."""

    def wrap(connection, **_):
        if wrapper not in connection.execute_wrappers:  # it has it already if it is opened again
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


def wait_for_a_lock():
    """Wait until a transaction waits for a lock of another one."""
    asks = {
        "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND datname = current_database()",
        "mysql": "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
    }
    watcher = connection.copy()
    try:
        while True:
            with watcher.cursor() as cursor:
                cursor.execute(asks[connection.vendor])
                if cursor.fetchone()[0]:
                    return
            threading.Event().wait(0.15)  # MariaDB refreshes that table ten times a second
    finally:
        watcher.close()


needs_server = pytest.mark.skipif(
    connection.vendor == "sqlite", reason="SQLite has no connection that can be lost"
)
