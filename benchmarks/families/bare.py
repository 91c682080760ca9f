"""Bare SQL on the table of django_delayed, with the driver's own cursor: the most that the database allows.

As a program, `python -m benchmarks.families.bare 100`, it is a worker that takes so many at once.
"""

import sys
import time
from functools import cache
from itertools import repeat

import django
from django.db import connection

from benchmarks.bodies import nothing

TABLE = "django_delayed_delayedjob"
READY = (
    f"SELECT id FROM {TABLE} WHERE claimable = 1 AND queue = 'default' ORDER BY queue, priority, run_at, id"
)
NOW = {
    "postgresql": "statement_timestamp()",
    "mysql": "UTC_TIMESTAMP(6)",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now')",
}
CHUNK = 1_000


def cursor_of_driver():
    """A cursor of the driver, without Django, and its placeholder for parameters."""
    connection.ensure_connection()
    return connection.connection.cursor(), "?" if connection.vendor == "sqlite" else "%s"


def claim_by_one_statement(cursor, limit):
    """The ids of the claimed rows."""
    lock = "FOR UPDATE SKIP LOCKED" if connection.vendor == "postgresql" else ""
    cursor.execute(
        f"UPDATE {TABLE} SET claimable = NULL, locked_at = {NOW[connection.vendor]}, locked_by = 'bare',"
        f" attempts = attempts + 1 WHERE id IN ({READY} LIMIT {limit} {lock}) RETURNING id, payload"
    )
    return [row[0] for row in cursor.fetchall()]


def claim_by_two_statements(cursor, limit):
    """The ids of the claimed rows, on a database where an UPDATE cannot return them."""
    cursor.execute("BEGIN")
    cursor.execute(f"{READY} LIMIT {limit} FOR UPDATE SKIP LOCKED")
    ids = [row[0] for row in cursor.fetchall()]
    if ids:
        cursor.execute(
            f"UPDATE {TABLE} SET claimable = NULL, locked_at = {NOW[connection.vendor]}, locked_by = 'bare',"
            f" attempts = attempts + 1 WHERE id IN ({', '.join(map(str, ids))})"
        )
    cursor.execute("COMMIT")
    return ids


def work(limit):
    """Claim, perform and delete for ever."""
    cursor, mark = cursor_of_driver()
    claim = claim_by_two_statements if connection.vendor == "mysql" else claim_by_one_statement
    while True:
        ids = claim(cursor, limit)
        for _ in ids:
            nothing()
        if ids:
            cursor.execute(f"DELETE FROM {TABLE} WHERE id IN ({', '.join([mark] * len(ids))})", ids)
        else:
            time.sleep(0.01)


@cache
def row_of_a_job():
    """The columns of the row of a job, without its id, and their values."""
    # A worker needs no model, and has none when this module is imported.
    from benchmarks.families.delayed import Nothing

    row = Nothing.perform_later()
    cursor, mark = cursor_of_driver()
    cursor.execute(f"SELECT * FROM {TABLE} WHERE id = {mark}", [row.pk])
    found = dict(zip([column[0] for column in cursor.description], cursor.fetchone(), strict=True))
    row.delete()
    del found["id"]
    return ", ".join(found), list(found.values())


def enqueue(count):
    """Insert rows one by one."""
    columns, values = row_of_a_job()
    cursor, mark = cursor_of_driver()
    insert = f"INSERT INTO {TABLE} ({columns}) VALUES ({', '.join([mark] * len(values))})"
    for _ in range(count):
        cursor.execute(insert, values)


def enqueue_many(count):
    """Insert many rows with each statement; on PostgreSQL by COPY."""
    columns, values = row_of_a_job()
    cursor, mark = cursor_of_driver()
    if connection.vendor == "postgresql":
        with cursor.copy(f"COPY {TABLE} ({columns}) FROM STDIN") as copy:
            for _ in range(count):
                copy.write_row(values)
        return
    insert = f"INSERT INTO {TABLE} ({columns}) VALUES ({', '.join([mark] * len(values))})"
    for first in range(0, count, CHUNK):
        cursor.execute("BEGIN")
        cursor.executemany(insert, repeat(values, min(CHUNK, count - first)))
        cursor.execute("COMMIT")


def backlog(kind, count):
    """Write rows beside the jobs that are measured."""
    from benchmarks.families.delayed import backlog

    backlog(kind, count)


def enqueue_stamp():
    """Enqueue a job that says how long it has waited."""
    raise NotImplementedError("bare SQL has one kind of job")


def unsettled():
    """How many rows are left, without the finished ones of a backlog."""
    cursor, _ = cursor_of_driver()
    cursor.execute(f"SELECT count(*) FROM {TABLE} WHERE finished_at IS NULL")
    return cursor.fetchone()[0]


if __name__ == "__main__":
    django.setup()
    work(int(sys.argv[1]))
