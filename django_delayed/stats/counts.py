"""How many rows there are: by state, or counted up to a limit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from django.db import connections
from django.db.models import Case, CharField, Count, Value, When
from django.db.models.expressions import RawSQL

from ..conf import settings
from ..databases import LANES_INDEX, DatabaseNow, database
from ..models import DelayedJob, all_rows
from ..states import STATES, DelayedJobQuerySet, State, batches

# Rows that one of the capped counts reads.
MOST_COUNTED = 10_000
HOUR = timedelta(hours=1)


class Totals(NamedTuple):
    """How many jobs there are, each number up to MOST_COUNTED + 1; `failed_lately` counts the last hour."""

    failed: int
    failed_lately: int
    retrying: int
    running: int
    waiting: int


def count_by_state(rows: DelayedJobQuerySet | None = None) -> dict[State, int]:
    """How many of `rows` (all by default) are in each state. Reads each of them."""
    rows = all_rows() if rows is None else rows
    counted = dict(
        rows.annotate(in_state=_state_column()).values_list("in_state").annotate(Count("pk")).order_by()
    )
    return {state: counted.get(state.value, 0) for state in State}


def ids_by_state(ids: Sequence[int]) -> dict[State, list[int]]:
    """These ids by the state of their rows, in the given order. Reads each row."""
    states = dict(
        all_rows().filter(pk__in=ids).annotate(in_state=_state_column()).values_list("pk", "in_state")
    )
    found = {state: [pk for pk in ids if states.get(pk) == state.value] for state in State}
    return {state: ids for state, ids in found.items() if ids}


def capped_counts(counted: Sequence[Any]) -> list[int]:
    """How many rows each of these querysets finds, up to MOST_COUNTED + 1; one statement for 500 querysets.

    A queryset that may find many rows has to come from `by_index`.
    """
    connection = connections[settings.DATABASE]
    counts: list[int] = []
    for some in batches(counted):
        parts, params = [], []
        for rows in some:
            query = rows.values("pk")[: MOST_COUNTED + 1].query
            sql, values = query.get_compiler(connection=connection).as_sql()
            parts.append(f"(SELECT COUNT(*) FROM ({sql}) counted)")
            params += values
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(parts)}", params)
            counts += cursor.fetchone()
    return counts


def first_ids(queries: Sequence[Any]) -> RawSQL:
    """The ids of the first rows of these querysets, for `pk__in`: MOST_COUNTED in all, equally many of each.

    MariaDB takes no LIMIT in the subquery of an IN, but it takes one in a subquery of that.
    """
    connection = connections[settings.DATABASE]
    parts, params = [], []
    for rows in queries:
        first = rows.values("id")[: MOST_COUNTED // len(queries)]
        sql, values = first.query.get_compiler(connection=connection).as_sql()
        parts.append(f"SELECT id FROM ({sql}) part")
        params += values
    return RawSQL(f"SELECT id FROM ({' UNION ALL '.join(parts)}) first_rows", params)


def totals() -> Totals:
    """The current totals. Takes one statement, by the indexes."""
    rows = all_rows()
    failed = by_index(rows.failed(), "delayed_job_failed")
    lately = failed.filter(failed_at__gt=DatabaseNow(plus=-HOUR))
    retrying = by_index(rows.retrying(), "delayed_job_retrying")
    waiting = by_index(rows.waiting(), LANES_INDEX)
    return Totals(*capped_counts([failed, lately, retrying, rows.running(), waiting]))


def by_index(rows: DelayedJobQuerySet, name: str) -> DelayedJobQuerySet:
    """The rows in a form for which `capped_counts` uses the index of this name."""
    index = next(index for index in DelayedJob._meta.indexes if index.name == name)
    found: Any = database(connections[settings.DATABASE]).by_index(rows, index)
    return found


def newest_first(rows: DelayedJobQuerySet) -> DelayedJobQuerySet:
    """The rows in a form for which `first_ids` finds the newest by their index."""
    found: Any = database(connections[settings.DATABASE]).newest_first(rows)
    return found


def _state_column() -> Case:
    """The state as a column, to count all six in one pass over the rows."""
    whens = [When(condition, then=Value(state.value)) for state, (condition, _) in STATES.items()]
    return Case(*whens, output_field=CharField())
