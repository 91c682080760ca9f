"""Rows written with one INSERT. The database's clock may give their times.

This is our own SQL: before Django 6.0, `bulk_create` takes no expressions, and on MySQL and MariaDB it does
not return ids. benchmarks/README.md compares its cost with `create()` and `bulk_create()`. Reconsider it when
support for Django 5.2 ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, TypeVar

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from ..conf import INTEGERS
from ..exceptions import SerializationError
from .base import SQL, Column, Source
from .clock import DatabaseNow
from .parts import MOST_ROWS, parts
from .vendors import database

MOST_BYTES = 4 * 1024 * 1024
# Bytes of payloads. Servers take statements of 1 MiB or more, in which payloads are at most twice as long. So
# up to this size, payloads are written without asking the server for its limit.
ALWAYS_FIT = 512 * 1024

R = TypeVar("R", bound=models.Model)
# The id of a row, and its times by their columns; None if the database does not return them.
Written = tuple[int, dict[str, Any] | None]


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
        yield from parts(rows, MOST_ROWS)
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
    """The most bytes that the row takes in an INSERT. The start of the statement is counted for each row."""
    payload = row.payload
    escapes = payload.count('"') + payload.count("\\") + payload.count("'")
    return len(payload) + escapes + 4 * (len(row.name) + len(row.about) + len(row.queue)) + 1500


def insert(connection: BaseDatabaseWrapper, rows: Sequence[models.Model]) -> None:
    """Write at most 1,000 unsaved rows in one statement; a DatabaseNow stands for its time."""
    statement = Insert(connection, rows)
    with connection.cursor() as cursor:
        written = statement.execute(cursor)
    key: Any = rows[0]._meta.pk
    for row, (pk, times) in zip(rows, written, strict=True):
        state, values = row._state, row.__dict__
        state.adding, state.db = False, connection.alias
        values[key.attname] = pk
        if times is not None:
            values.update(times)
            continue
        for names in statement.times.values():
            for name in names:
                # A field without a value in __dict__ is deferred: read when asked for.
                del values[name]


class Insert:
    """An INSERT of some rows. A column with the same value in all rows, as most have, is prepared once."""

    def __init__(self, connection: BaseDatabaseWrapper, rows: Sequence[models.Model]) -> None:
        self.connection = connection
        self.backend = database(connection)
        self.rows = rows
        # Fields with their only value, and others with a value for each row.
        self.same: list[tuple[Any, Any]] = []
        self.different: list[Column] = []
        # The columns that the clock gives, by name; those that get the same time are together.
        self.times: dict[Any, list[str]] = {}
        given = [row.__dict__ for row in rows]
        for field, name in _fields_of(type(rows[0])):
            values = [values[name] for values in given]
            if values.count(first := values[0]) == len(values):
                self.same.append((field, first))
                if type(first) is DatabaseNow:
                    self.times.setdefault(first, []).append(name)
            else:
                self.different.append((field, values))
                if any(type(value) is DatabaseNow for value in values):
                    self.times[name] = [name]
        # No column has a name that a database needs quoted.
        columns = ", ".join([field.column for field, _ in (*self.same, *self.different)])
        self.into = f"INSERT INTO {self.backend.table_of(type(rows[0]))} ({columns})"

    def execute(self, cursor: Any) -> list[Written]:
        """Run it. Returns the id and the times of each row."""
        if not self.connection.features.can_return_rows_from_bulk_insert:
            cursor.execute(*self._values())
            # One INSERT of known length numbers its rows in sequence in every innodb_autoinc_lock_mode.
            first, step = cursor.lastrowid, _step_of_ids(cursor) if len(self.rows) > 1 else 1
            return [(first + number * step, None) for number in range(len(self.rows))]
        if source := self.backend.source_of(self.different):
            return self._execute_from(cursor, source)
        statement, params = self._values()
        returned = filter(None, ("id", *self._clocked(), self.backend.wake_with_insert()))
        cursor.execute(f"{statement} RETURNING {', '.join(returned)}", params)
        read = self._reader()
        return [(pk, read(times)) for pk, *times in cursor.fetchall()]

    def _execute_from(self, cursor: Any, source: Source) -> list[Written]:
        """The INSERT from a source. All rows have the same times, so they are read once, in 4 µs each."""
        selected, text, data = source
        marks, params = self._cells(self.same)
        times = self._clocked()
        found = ("array_agg(id)", *(f"min({name})" for name in times), self.backend.wake_with_insert())
        cursor.execute(
            f"WITH written AS ({self.into} SELECT {', '.join([*marks, *selected])} FROM {text}"
            f" RETURNING {', '.join(['id', *times])}) SELECT {', '.join(filter(None, found))} FROM written",
            [*params, *data],
        )
        ids, *moments = cursor.fetchone()
        read = self._reader()(moments)
        return [(pk, read) for pk in ids]

    def _values(self) -> SQL:
        marks, params = self._cells(self.same)
        texts, data = [], []
        for number in range(len(self.rows)):
            of_row, more = self._cells([(field, values[number]) for field, values in self.different])
            texts.append(f"({', '.join([*marks, *of_row])})")
            data += [*params, *more]
        return f"{self.into} VALUES {', '.join(texts)}", data

    def _cells(self, values: Sequence[tuple[Any, Any]]) -> tuple[list[str], list[Any]]:
        """The values of fields as they appear in the statement, and its parameters."""
        marks, params = [], []
        for field, value in values:
            kind = type(value)
            # Most columns of a new row are NULL, 0 or empty. As literals they cost no parameter.
            if value is None:
                marks.append("NULL")
            elif kind is int and value in INTEGERS:
                marks.append(str(value))
            elif kind is str and not value:
                marks.append("''")
            elif kind is DatabaseNow:
                mark, more = self.backend.now(value.plus)
                marks.append(mark)
                params += more
            else:
                marks.append("%s")
                params.append(value if kind is str else field.get_db_prep_save(value, self.connection))
        return marks, params

    def _clocked(self) -> list[str]:
        """The columns to read the times from."""
        return [names[0] for names in self.times.values()]

    def _reader(self) -> Callable[[Sequence[Any]], dict[str, Any]]:
        """A function that makes the values of a row's fields from the times that the driver returns."""
        model = type(self.rows[0])
        field: Any = model._meta.get_field("run_at")
        column = field.get_col(model._meta.db_table)
        converters = self.connection.ops.get_db_converters(column)

        def read(times: Sequence[Any]) -> dict[str, Any]:
            values = {}
            for names, time in zip(self.times.values(), times, strict=False):
                for convert in converters:
                    time = convert(time, column, self.connection)
                values.update(dict.fromkeys(names, time))
            return values

        return read


@cache
def _fields_of(model: type[models.Model]) -> list[tuple[Any, str]]:
    return [(field, field.attname) for field in model._meta.concrete_fields if not field.primary_key]


def _step_of_ids(cursor: Any) -> int:
    # Above 1 where several servers write, each in a sequence of its own.
    cursor.execute("SELECT @@auto_increment_increment")
    [step] = cursor.fetchone()
    return int(step)
