"""Rows written with one INSERT, whose times the database's clock may give.

Our own SQL and not `bulk_create`: before Django 6.0 that takes no expressions, and on MySQL and MariaDB it
does not return ids. One row costs 0.84 (SQLite) to 0.93 (PostgreSQL, MariaDB) of what `create()` costs. To be
reconsidered when the support of Django 5.2 ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from ..conf import INTEGERS
from ..exceptions import SerializationError
from .base import SQL
from .clock import DatabaseNow
from .vendors import database

RETURNED = ("id", "run_at", "created_at")

# SQLite takes 32,766 variables a statement.
MOST_ROWS = 1000
MOST_BYTES = 4 * 1024 * 1024
# Bytes of payloads. Servers take 1 MiB or more as one statement, in which the payloads are at most twice as
# long; so fewer are written without a question to the server.
ALWAYS_FIT = 512 * 1024

R = TypeVar("R", bound=models.Model)


def check_sizes(connection: BaseDatabaseWrapper, rows: Sequence[Any]) -> None:
    """Raise SerializationError for a row that the server would refuse for its size."""
    if _are_small(rows) or (limit := database(connection).longest_statement()) is None:
        return
    for row in rows:
        if (size := _size_of(row)) > limit:
            raise SerializationError(
                f"{row.name}: its INSERT takes {size:,} bytes, and {connection.display_name} takes at most"
                f" {limit:,} (max_allowed_packet). Raise that on the server, or store the data elsewhere, and"
                " pass a key to find it by."
            )


def split(connection: BaseDatabaseWrapper, rows: Sequence[R]) -> Iterator[Sequence[R]]:
    """The rows in their order, as many at a time as one INSERT takes."""
    if _are_small(rows):
        yield from (rows[first : first + MOST_ROWS] for first in range(0, len(rows), MOST_ROWS))
        return
    most = min(MOST_BYTES, database(connection).longest_statement() or MOST_BYTES)
    chunk: list[R] = []
    left = most
    for row in rows:
        left -= _size_of(row)
        if chunk and (len(chunk) == MOST_ROWS or left < 0):
            yield chunk
            chunk, left = [], most - _size_of(row)
        chunk.append(row)
    yield chunk


def _are_small(rows: Sequence[Any]) -> bool:
    return sum(len(row.payload) for row in rows) <= ALWAYS_FIT


def _size_of(row: Any) -> int:
    """The most bytes that the row takes in an INSERT, whose first words are counted for each."""
    payload = row.payload
    escapes = payload.count('"') + payload.count("\\") + payload.count("'")
    return len(payload) + escapes + 4 * (len(row.name) + len(row.about) + len(row.queue)) + 1500


def insert(connection: BaseDatabaseWrapper, rows: Sequence[models.Model]) -> None:
    """Write at most 1,000 unsaved rows in one statement; a DatabaseNow stands for its time."""
    statement, params = _insert_sql(connection, rows)
    with connection.cursor() as cursor:
        if connection.features.can_return_rows_from_bulk_insert:
            returned = filter(None, (*RETURNED, database(connection).wake_with_insert()))
            cursor.execute(f"{statement} RETURNING {', '.join(returned)}", params)
            written = [found[: len(RETURNED)] for found in cursor.fetchall()]
        else:
            cursor.execute(statement, params)
            # One INSERT of known length numbers its rows in sequence in every innodb_autoinc_lock_mode.
            first, step = cursor.lastrowid, _step_of_ids(cursor) if len(rows) > 1 else 1
            written = [(first + number * step, None, None) for number in range(len(rows))]
    for row, (pk, run_at, created_at) in zip(rows, written, strict=True):
        row.pk, row._state.adding, row._state.db = pk, False, connection.alias
        _set_time(connection, row, "run_at", run_at)
        _set_time(connection, row, "created_at", created_at)


def _step_of_ids(cursor: Any) -> int:
    # Above 1 where several servers write, each in a sequence of its own.
    cursor.execute("SELECT @@auto_increment_increment")
    [step] = cursor.fetchone()
    return int(step)


def _set_time(connection: BaseDatabaseWrapper, row: models.Model, name: str, value: Any) -> None:
    if value is None:
        # MySQL does not return it. A field without a value in __dict__ is deferred: read when asked for.
        del row.__dict__[name]
        return
    expression = row._meta.get_field(name).get_col(row._meta.db_table)  # type: ignore[union-attr]
    for convert in connection.ops.get_db_converters(expression):
        value = convert(value, expression, connection)
    row.__dict__[name] = value


def _insert_sql(connection: BaseDatabaseWrapper, rows: Sequence[models.Model]) -> SQL:
    fields = [field for field in rows[0]._meta.concrete_fields if not field.primary_key]
    clock: dict[timedelta, SQL] = {}
    params: list[Any] = []
    values = []
    for row in rows:
        marks, more = _row_sql(connection, row, fields, clock)
        values.append(marks)
        params += more
    # No column has a name that any of the databases would want quoted.
    columns = ", ".join(str(field.column) for field in fields)
    table = connection.ops.quote_name(rows[0]._meta.db_table)
    return f"INSERT INTO {table} ({columns}) VALUES {', '.join(values)}", params


def _row_sql(
    connection: BaseDatabaseWrapper, row: models.Model, fields: Sequence[Any], clock: dict[timedelta, SQL]
) -> SQL:
    marks, params = [], []
    for field in fields:
        value = getattr(row, field.attname)
        # Most columns of a new row are NULL or 0. As literals they cost no parameter.
        if value is None:
            marks.append("NULL")
        elif type(value) is int and value in INTEGERS:
            marks.append(str(value))
        elif isinstance(value, DatabaseNow):
            if value.plus not in clock:
                clock[value.plus] = database(connection).now(value.plus)
            mark, more = clock[value.plus]
            marks.append(mark)
            params += more
        else:
            marks.append("%s")
            params.append(field.get_db_prep_save(value, connection))
    return f"({', '.join(marks)})", params
