"""Errors that a database repeats until somebody repairs something are distinguished from those that pass."""

import pytest
from django.db import Error, OperationalError, connection
from django_delayed.databases import database
from django_delayed.models import DelayedJob

pytestmark = pytest.mark.django_db(transaction=True)

TABLE = DelayedJob._meta.db_table
PERMANENT = {
    "missing column": f"SELECT nothing_of_this_name FROM {TABLE}",
    "missing table": "SELECT 1 FROM nothing_of_this_name",
    "missing function": f"SELECT nothing_of_this_name(id) FROM {TABLE}",
    "missing column to write": f"UPDATE {TABLE} SET nothing_of_this_name = 1",
    "not SQL": "SELCT 1",
}
OF_ONE_VENDOR = {
    "postgresql": {
        "missing privilege": ("SET ROLE pg_monitor", f"SELECT 1 FROM {TABLE}"),
        "limit of the program": ("SELECT " + ", ".join(["1"] * 1665),),
    },
    "mysql": {
        "collations that do not fit": (
            f"SELECT 1 FROM {TABLE} WHERE queue COLLATE utf8mb4_bin = name COLLATE utf8mb4_general_ci",
        ),
        "character not in the charset": (
            "CREATE TEMPORARY TABLE narrow (word varchar(10) CHARACTER SET latin1)",
            "INSERT INTO narrow VALUES ('日本')",
        ),
        "no such database": ("SELECT 1 FROM nothing_of_this_name.tables",),
    },
    "sqlite": {
        "read-only": ("PRAGMA query_only = 1", f"DELETE FROM {TABLE}"),
        "missing index": (f"SELECT 1 FROM {TABLE} INDEXED BY nothing_of_this_name",),
    },
}
STATEMENTS = {name: (sql,) for name, sql in PERMANENT.items()} | OF_ONE_VENDOR[connection.vendor]


@pytest.fixture(autouse=True)
def end_session():
    yield
    connection.close()


@pytest.mark.parametrize("statements", STATEMENTS.values(), ids=STATEMENTS)
def test_an_error_that_stays_until_a_repair_is_permanent(statements):
    *before, last = statements
    with connection.cursor() as cursor:
        for statement in before:
            cursor.execute(statement)
        with pytest.raises(Error) as caught:
            cursor.execute(last)
    assert database(connection).is_permanent(caught.value)
    assert not database(connection).is_conflict(caught.value)


@pytest.mark.parametrize(
    "arguments", [(), ("server closed the connection",), (2002, "Can't connect"), (2013, "Lost connection")]
)
def test_an_error_of_the_network_or_of_no_code_is_not_permanent(arguments):
    error = OperationalError(*arguments)
    assert not database(connection).is_permanent(error)
    assert not database(connection).is_conflict(error)
