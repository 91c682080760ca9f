"""The operator's moves in bulk: with a cut-off, in batches, counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from .conf import settings
from .models import DelayedJob
from .states import HELD, DelayedJobQuerySet, batches

LIMIT = 10_000  # rows that one operation moves at most


@dataclass(frozen=True)
class Operation:
    """A move that an operator makes, and the rows that it may be made with."""

    name: str
    allowed: Callable[[DelayedJobQuerySet], DelayedJobQuerySet]
    move: Callable[[DelayedJobQuerySet], int]

    def ids(self, rows: DelayedJobQuerySet) -> list[int]:
        """The ids of the rows that may be moved, LIMIT at most."""
        return list(self.allowed(rows).values_list("pk", flat=True)[:LIMIT])

    def carry_out(self, ids: list[int]) -> int:
        """Move the rows of these ids that still may be moved; returns how many were.

        Each batch is a transaction of its own and asks for the state again, so two operators, or an operator
        and a worker, never move one row twice.
        """
        rows = DelayedJob.objects.using(settings.DATABASE)
        return sum(self.move(rows.filter(pk__in=batch)) for batch in batches(ids))


RETRY = Operation("retry", lambda rows: rows.failed(), lambda rows: rows.retry())
DISCARD = Operation("discard", lambda rows: rows.exclude(HELD), lambda rows: rows.discard())


def as_of(rows: DelayedJobQuerySet, moment: datetime) -> DelayedJobQuerySet:
    """The rows that were neither created nor failed nor finished after `moment`.

    An operator who confirms a bulk operation has not seen those.
    """
    unchanged = Q()
    for column in ("failed_at", "finished_at"):
        unchanged &= Q(**{f"{column}__isnull": True}) | Q(**{f"{column}__lte": moment})
    return rows.filter(unchanged, created_at__lte=moment)
