"""The codes of SQLite's errors, and the extended codes that are more exact."""

import sqlite3

import pytest
from django.db import OperationalError, connection

pytestmark = pytest.mark.skipif(connection.vendor != "sqlite", reason="only for SQLite")


@pytest.mark.django_db
def test_a_table_that_is_read_on_the_same_connection_is_a_conflict(backend):
    with connection.cursor() as cursor, connection.cursor() as reader:
        cursor.execute("CREATE TEMPORARY TABLE numbers AS SELECT 1 AS number UNION SELECT 2")
        reader.execute("SELECT number FROM numbers")
        reader.fetchone()
        with pytest.raises(OperationalError) as caught:
            cursor.execute("DROP TABLE numbers")
        reader.fetchall()
        cursor.execute("DROP TABLE numbers")
    assert caught.value.__cause__.sqlite_errorname == "SQLITE_LOCKED"
    assert backend.is_conflict(caught.value)


@pytest.mark.parametrize(
    ("name", "is_conflict", "is_permanent"),
    [
        ("SQLITE_BUSY", True, False),
        ("SQLITE_BUSY_RECOVERY", True, False),
        ("SQLITE_BUSY_SNAPSHOT", True, False),
        ("SQLITE_BUSY_TIMEOUT", True, False),
        ("SQLITE_LOCKED", True, False),
        ("SQLITE_LOCKED_SHAREDCACHE", True, False),
        ("SQLITE_READONLY_DBMOVED", False, True),
        ("SQLITE_CORRUPT_INDEX", False, True),
        ("SQLITE_IOERR_LOCK", False, False),
        ("SQLITE_CONSTRAINT_UNIQUE", False, False),
    ],
)
def test_a_longer_code_means_what_its_short_form_means(backend, name, is_conflict, is_permanent):
    error = OperationalError(name)
    error.__cause__ = sqlite3.OperationalError(name)
    error.__cause__.sqlite_errorcode = getattr(sqlite3, name)
    assert (backend.is_conflict(error), backend.is_permanent(error)) == (is_conflict, is_permanent)
