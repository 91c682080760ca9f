"""The operator's moves in bulk: with a cut-off, in batches, counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q

from .models import all_rows
from .states import HELD, DelayedJobQuerySet, State, batches

MOST_ROWS = 10_000  # that one request moves
IDS_REPORTED = 100


@dataclass(frozen=True)
class Operation:
    """A move that an operator makes, and the rows that it may be made with.

    `keep_for` is for how long the row of a job that the move leads to a worker stays once it was performed.
    """

    name: str
    allowed: Callable[[DelayedJobQuerySet], DelayedJobQuerySet]
    move: Callable[[Sequence[int], timedelta | None], int]
    state: State | None = None  # the only one that is allowed

    def ids(
        self, rows: DelayedJobQuerySet, most: int | None = None, until: datetime | None = None
    ) -> list[int]:
        """The ids of the rows that may be moved, at most that many; with `until`, those as of that moment."""
        ids = list(self.allowed(rows).values_list("pk", flat=True)[:most])
        # A second statement, as no index has these columns: MariaDB would read every row that it passes over.
        return ids if until is None else list(as_of(ids, until).values_list("pk", flat=True))

    def carry_out(self, ids: Sequence[int], keep_for: timedelta | None = None) -> int:
        """Move the rows of these ids that still may be moved; returns how many were.

        Each batch is a transaction of its own, and asks for the state again in its statements: a row that
        another operator or a worker moves at the same moment is moved once.
        """
        return sum(self.move(batch, keep_for) for batch in batches(ids))

    def report(self, result: str, ids: Sequence[int], where: str) -> str:
        """What an entry of a log says: the operation, what came of it, which rows."""
        some = ", ".join(map(str, ids[:IDS_REPORTED])) + (", …" if len(ids) > IDS_REPORTED else "")
        return f"{self.name}: {result}{where and f' where {where}'}: {some}"


RETRY = Operation(
    name="retry",
    allowed=lambda rows: rows.failed(),
    move=lambda ids, keep_for: all_rows().filter(pk__in=ids).retry(keep_for),
    state=State.FAILED,
)
RUN_NOW = Operation(
    name="run_now",
    allowed=lambda rows: rows.not_due(),
    move=lambda ids, keep_for: all_rows().filter(pk__in=ids).run_now(keep_for),
)
DISCARD = Operation(
    name="discard",
    allowed=lambda rows: rows.exclude(HELD),
    move=lambda ids, _: all_rows().discard_batch(ids),
)


def as_of(ids: Sequence[int], moment: datetime) -> DelayedJobQuerySet:
    """The rows of these ids that were neither created nor failed nor finished after `moment`.

    An operator who confirms a bulk operation has not seen those.
    """
    unchanged = Q()
    for column in ("failed_at", "finished_at"):
        unchanged &= Q(**{f"{column}__isnull": True}) | Q(**{f"{column}__lte": moment})
    return all_rows().filter(unchanged, pk__in=ids, created_at__lte=moment)
