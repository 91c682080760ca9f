"""The numbers about the queue that the admin and the commands show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from django.db.models import Case, CharField, Count, F, Max, Min, Value, When

from . import claiming
from .conf import settings
from .databases import Filters, Lane
from .models import all_rows
from .states import STATES, DelayedJobQuerySet, State

# Finished and failed rows that are read for their queues; no index leads to those by queue.
NEWEST = 1000


@dataclass
class Cause:
    """What failed jobs have in common that have one error fingerprint: "" for rows without one."""

    fingerprint: str
    jobs: int
    first: datetime
    last: datetime
    newest: int  # the highest id
    queues: list[str] = field(default_factory=list)


def count_by_state(rows: DelayedJobQuerySet | None = None) -> dict[State, int]:
    """How many of `rows` (all by default) are in each state. Reads each of them."""
    rows = all_rows() if rows is None else rows
    counted = dict(
        rows.annotate(in_state=_state_column()).values_list("in_state").annotate(Count("pk")).order_by()
    )
    return {state: counted.get(state.value, 0) for state in State}


def ids_by_state(ids: Sequence[int]) -> dict[State, list[int]]:
    """The ids of rows by the states that these are in, in their order. Reads each row."""
    states = dict(
        all_rows().filter(pk__in=ids).annotate(in_state=_state_column()).values_list("pk", "in_state")
    )
    found = {state: [pk for pk in ids if states.get(pk) == state.value] for state in State}
    return {state: ids for state, ids in found.items() if ids}


def causes(most: int) -> list[Cause]:
    """The `most` causes of which the most jobs failed, with the queues of these jobs.

    Reads the index of the failed rows, and no row.
    """
    failed = all_rows().failed().order_by()
    grouped = (
        failed.values(fingerprint=F("error_fingerprint"))
        .annotate(jobs=Count("pk"), first=Min("failed_at"), last=Max("failed_at"), newest=Max("pk"))
        .order_by("-jobs", "-newest")
    )
    found = {group["fingerprint"]: Cause(**group) for group in grouped[:most]}
    pairs = failed.filter(error_fingerprint__in=found).values_list("error_fingerprint", "queue").distinct()
    for fingerprint, queue in sorted(pairs):
        found[fingerprint].queues.append(queue)
    return list(found.values())


def _state_column() -> Case:
    """The state as a column, to count all six in one pass over the rows."""
    whens = [When(condition, then=Value(state.value)) for state, (condition, _) in STATES.items()]
    return Case(*whens, output_field=CharField())


def lanes(filters: Filters = Filters()) -> list[Lane]:
    """The lanes that these filters serve. Costs as many steps in the index as there are lanes, not rows."""
    return [lane for lane in claiming.lanes(all_rows()) if filters.serve(lane)]


def latency(filters: Filters = Filters()) -> timedelta:
    """For how long the job that fell due first has been waiting for a worker; 0 when none is due. Cheap."""
    return timedelta(seconds=max((-lane.due_in for lane in lanes(filters) if lane.due_in < 0), default=0))


def queues() -> list[str]:
    """The names of the queues that have waiting, running, newly failed or newly finished jobs, or a setting.

    A `SELECT DISTINCT queue` would read the whole table each time. This reads the lanes, the running rows and
    the newest ones that failed or finished: a queue that has only older ones of those is not named.
    """
    rows = all_rows()
    named: Iterable[Any] = chain(
        [settings.DEFAULT_QUEUE],
        settings.QUEUE_ATTRIBUTES,
        (lane.queue for lane in lanes()),
        rows.running().order_by().values_list("queue", flat=True).distinct(),
        rows.failed().order_by("-failed_at", "-id").values_list("queue", flat=True)[:NEWEST],
        rows.finished().order_by("-finished_at").values_list("queue", flat=True)[:NEWEST],
    )
    return sorted(set(named))
