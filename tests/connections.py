"""Connections that the server ends, as a restart or a network would."""

import pytest
from django.db import connection


def end_connection(target):
    """Let the server end this connection."""
    other = connection.copy()
    with other.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_terminate_backend(%s)", [target.connection.info.backend_pid])
        else:
            cursor.execute(f"KILL {target.connection.thread_id()}")
    other.close()


needs_server = pytest.mark.skipif(connection.vendor == "sqlite", reason="has no connection to lose")
