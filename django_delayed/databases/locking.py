"""Rows that are locked by their primary keys, until the end of the transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.constants import OnConflict

from .base import SQL
from .parts import MOST_ROWS, parts
from .vendors import database


def upsert(
    connection: BaseDatabaseWrapper,
    model: type[models.Model],
    rows: Sequence[Sequence[Any]],
    changed: Sequence[str],
) -> None:
    """Write rows, with all columns of the model in its order. In rows that exist, change only `changed`.

    Each row is locked, in the order in which they are given, even if nothing in it is changed.
    """
    # Not INSERT … IGNORE: with that, two transactions on MySQL both lock one row, and neither can change it.
    fields: list[Any] = list(model._meta.concrete_fields)
    key: Any = model._meta.pk
    columns = ", ".join(field.column for field in fields)
    suffix = connection.ops.on_conflict_suffix_sql(fields, OnConflict.UPDATE, changed, [key.column])
    into = f"INSERT INTO {database(connection).table_of(model)} ({columns}) VALUES "
    with connection.cursor() as cursor:
        for part in parts(rows, MOST_ROWS):
            marks = ", ".join([f"({', '.join(['%s'] * len(fields))})"] * len(part))
            cursor.execute(f"{into}{marks} {suffix}", [value for row in part for value in row])


def lock_rows(
    connection: BaseDatabaseWrapper,
    model: type[models.Model],
    keys: Sequence[Any],
    columns: SQL,
    condition: str = "",
    skip_locked: bool = False,
) -> list[tuple[Any, ...]]:
    """Lock the rows of these primary keys that meet the condition, in their order. Returns the columns.

    With `skip_locked`, those that others have locked are left out.
    """
    backend = database(connection)
    key: Any = model._meta.pk
    selected, params = columns
    locking = connection.ops.for_update_sql(skip_locked=skip_locked)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {selected} FROM {backend.table_of(model)} {backend.BY_PRIMARY_KEY}"
            # NULL, as MariaDB keeps the row of a single key locked even if it does not meet the condition.
            f" WHERE {key.column} IN (NULL, {', '.join(['%s'] * len(keys))})"
            f" {condition and f'AND {condition}'}"
            f" ORDER BY {key.column} {locking if connection.features.has_select_for_update else ''}",
            [*params, *keys],
        )
        return cursor.fetchall()


def remove_locked(connection: BaseDatabaseWrapper, model: type[models.Model], keys: Sequence[Any]) -> None:
    """Remove the rows of these primary keys, which are locked; it waits for no other row."""
    backend = database(connection)
    key: Any = model._meta.pk
    with connection.cursor() as cursor:
        cursor.execute(
            f"{backend.DELETE_BY_PRIMARY_KEY.format(table=backend.table_of(model))}"
            f" WHERE {key.column} IN ({', '.join(['%s'] * len(keys))})",
            [*keys],
        )
