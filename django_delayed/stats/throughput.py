"""What workers have performed over time, from the rows that they write minute by minute."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Max, Sum
from django.db.models.functions import Trunc

from ..databases import DatabaseNow
from ..models import all_stats

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
# Each worker has written the row of a minute at the latest this long after its end.
WRITTEN_AFTER = timedelta(seconds=10)


@dataclass(frozen=True)
class Span:
    """The time that the numbers are about: so many minutes or hours, each with numbers of its own."""

    count: int
    unit: timedelta

    @property
    def unit_name(self) -> str:
        """The unit as Django's `Trunc` calls it."""
        return "minute" if self.unit == MINUTE else "hour"


SPANS = {"hour": Span(60, MINUTE), "day": Span(24, HOUR), "three-days": Span(72, HOUR)}


@dataclass(frozen=True)
class Performed:
    """What all workers have performed in the minute or the hour that begins `at`.

    `processed` is the number of attempts, failed ones included. Together, their jobs waited `waited` seconds
    to be claimed; the one that waited longest waited `longest` seconds.
    """

    at: datetime
    processed: int = 0
    failed: int = 0
    waited: float = 0.0
    longest: float = 0.0

    @property
    def average(self) -> float:
        """For how many seconds a job waited on average."""
        return self.waited / self.processed if self.processed else 0.0


def throughput(span: Span) -> list[Performed]:
    """What was performed in each minute or hour, the oldest first; [] if it was nothing at all.

    Takes one statement, which reads a row for each worker and minute. The last minute or hour is one that all
    workers have written: a worker writes a minute when it is over.
    """
    since = DatabaseNow(plus=-(span.count + 1) * span.unit - MINUTE - WRITTEN_AFTER)
    rows = all_stats().filter(minute__gte=since).order_by()
    # In UTC: where the clocks are set back, an hour comes twice.
    grouped = rows.values(at=Trunc("minute", span.unit_name, tzinfo=UTC)).annotate(
        *(Sum(name) for name in ("processed", "failed", "waited")),
        longest=Max("longest"),
        now=Max(DatabaseNow()),
    )
    return _in_a_row(span, list(grouped))


def total(performed: list[Performed]) -> Performed:
    """The sum of all, with the beginning of the first."""
    return Performed(
        performed[0].at,
        sum(each.processed for each in performed),
        sum(each.failed for each in performed),
        sum(each.waited for each in performed),
        max(each.longest for each in performed),
    )


def _in_a_row(span: Span, groups: list[dict[str, Any]]) -> list[Performed]:
    if not groups:
        return []
    last = _floor(groups[0]["now"] - MINUTE - WRITTEN_AFTER, span.unit)
    found = {
        group["at"]: Performed(
            group["at"],
            group["processed__sum"],
            group["failed__sum"],
            group["waited__sum"],
            group["longest"],
        )
        for group in groups
    }
    moments = [last - before * span.unit for before in range(span.count - 1, -1, -1)]
    row = [found.get(moment) or Performed(moment) for moment in moments]
    return row if any(each.processed for each in row) else []


def _floor(moment: datetime, unit: timedelta) -> datetime:
    whole = moment.replace(second=0, microsecond=0)
    return whole if unit == MINUTE else whole.replace(minute=0)
