"""A database of its own for a process, which creates and drops it."""

from contextlib import contextmanager
from pathlib import Path

from django.db import connection


@contextmanager
def fresh_database():
    """A block in which the database of the settings exists and is empty. It is dropped afterwards."""
    _drop()
    _execute("CREATE DATABASE {}" + (" CHARACTER SET utf8mb4" if connection.vendor == "mysql" else ""))
    try:
        yield
    finally:
        connection.close()
        _drop()


def _drop():
    if connection.vendor == "sqlite":
        for suffix in ("", "-wal", "-shm"):
            Path(f"{connection.settings_dict['NAME']}{suffix}").unlink(missing_ok=True)
    _execute("DROP DATABASE IF EXISTS {}")


def _execute(statement):
    if connection.vendor == "sqlite":
        return  # SQLite creates the file itself
    with connection._nodb_cursor() as cursor:
        cursor.execute(statement.format(connection.ops.quote_name(connection.settings_dict["NAME"])))
