"""Connections that the server ends, as a restart or a network would; and what is asked on all of them."""

from contextlib import contextmanager

import pytest
from django.db import connection, connections
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
