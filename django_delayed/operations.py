"""The operator's moves in bulk: with a cut-off, in batches, counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from .models import all_rows
from .states import HELD, DelayedJobQuerySet, batches

MOST_ROWS = 10_000  # that one operation moves


@dataclass(frozen=True)
class Operation:
    """A move that an operator makes, and the rows that it may be made with."""

    name: str
    allowed: Callable[[DelayedJobQuerySet], DelayedJobQuerySet]
    move: Callable[[Sequence[int]], int]

    def ids(self, rows: DelayedJobQuerySet) -> list[int]:
        """The ids of the rows that may be moved, MOST_ROWS at most."""
        return list(self.allowed(rows).values_list("pk", flat=True)[:MOST_ROWS])

    def carry_out(self, ids: list[int]) -> int:
        """Move the rows of these ids that still may be moved; returns how many were.

        Each batch is a transaction of its own, and asks for the state again in its statements: a row that
        another operator or a worker moves at the same moment is moved once.
        """
        return sum(self.move(batch) for batch in batches(ids))


RETRY = Operation(
    name="retry",
    allowed=lambda rows: rows.failed(),
    move=lambda ids: all_rows().filter(pk__in=ids).retry(),
)
DISCARD = Operation(
    name="discard",
    allowed=lambda rows: rows.exclude(HELD),
    move=lambda ids: all_rows().discard_batch(ids),
)


def as_of(rows: DelayedJobQuerySet, moment: datetime) -> DelayedJobQuerySet:
    """The rows that were neither created nor failed nor finished after `moment`.

    An operator who confirms a bulk operation has not seen those.
    """
    unchanged = Q()
    for column in ("failed_at", "finished_at"):
        unchanged &= Q(**{f"{column}__isnull": True}) | Q(**{f"{column}__lte": moment})
    return rows.filter(unchanged, created_at__lte=moment)
