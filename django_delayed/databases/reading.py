"""The rows that our own statements return, as instances of their model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.base import ModelState

from .instances import bare_instance, is_init_heard

# The attribute of a connection for its converters. They refer to the connection, so they end with it.
CONVERTERS = "_django_delayed_converters"


def read_rows(
    rows: models.QuerySet[Any], columns: Sequence[str], statement: str, params: Sequence[Any]
) -> list[Any]:
    """The rows that a statement returns. It has to select the columns of these fields, in their order.

    The other fields are deferred. `rows.raw()` does the same, but looks up the converters for each statement
    and takes twice as long for each row.
    """
    with connections[rows.db].cursor() as cursor:
        cursor.execute(statement, params)
        return make_rows(rows, columns, cursor.fetchall())


def make_rows(
    rows: models.QuerySet[Any], columns: Sequence[str], fetched: Sequence[Sequence[Any]]
) -> list[Any]:
    """As `read_rows`, from what a statement has returned."""
    if not fetched:
        return []
    return list(map(_maker(rows, columns), _convert(fetched, rows, columns, connections[rows.db])))


def _maker(rows: models.QuerySet[Any], columns: Sequence[str]) -> Callable[[Sequence[Any]], Any]:
    model: Any = rows.model
    alias = rows.db
    if is_init_heard(model):
        return lambda values: model.from_db(alias, columns, values)

    def make(values: Sequence[Any]) -> Any:
        state = ModelState()
        state.adding, state.db = False, alias
        return bare_instance(model, {"_state": state, **dict(zip(columns, values, strict=True))})

    return make


def _convert(
    fetched: Sequence[Sequence[Any]],
    rows: models.QuerySet[Any],
    columns: Sequence[str],
    connection: BaseDatabaseWrapper,
) -> Sequence[Sequence[Any]]:
    known = vars(connection).setdefault(CONVERTERS, {})
    if (key := (rows.model, columns)) not in known:
        known[key] = _converters_of(rows, columns, connection)
    if not known[key]:
        return fetched
    converted = [list(values) for values in fetched]
    for place, convert, expression in known[key]:
        for values in converted:
            values[place] = convert(values[place], expression, connection)
    return converted


def _converters_of(
    rows: models.QuerySet[Any], columns: Sequence[str], connection: BaseDatabaseWrapper
) -> Sequence[tuple[int, Callable[..., Any], Any]]:
    expressions = [rows.model._meta.get_field(name).get_col(rows.model._meta.db_table) for name in columns]
    found = rows.query.get_compiler(rows.db).get_converters(expressions)
    return [
        (place, convert, expression)
        for place, (converters, expression) in found.items()
        for convert in converters
    ]
