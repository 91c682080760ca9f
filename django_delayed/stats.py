"""The numbers about the queue that the admin and the commands show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from itertools import chain
from typing import Any

from django.db import connections
from django.db.models import Case, CharField, Count, Value, When

from .conf import settings
from .databases import Filters, Lane, database
from .databases.clock import DatabaseNow
from .models import DelayedJob, State
from .states import DelayedJobQuerySet

NEWEST = 1000  # finished and failed rows that are asked for their queue; no index leads to those by queue

# One pass over the rows counts all six; `DelayedJob.state` and the querysets of `states` say the same.
STATE = Case(
    When(finished_at__isnull=False, then=Value(State.FINISHED.value)),
    When(failed_at__isnull=False, then=Value(State.FAILED.value)),
    When(locked_at__isnull=False, then=Value(State.RUNNING.value)),
    When(attempts__gt=0, then=Value(State.RETRYING.value)),
    When(run_at__gt=DatabaseNow(), then=Value(State.SCHEDULED.value)),
    default=Value(State.ENQUEUED.value),
    output_field=CharField(),
)


def count_by_state(jobs: DelayedJobQuerySet | None = None) -> dict[State, int]:
    """How many of `jobs` (all of them by default) are in each state. Reads every row of them."""
    rows = _rows(jobs).annotate(in_state=STATE).values_list("in_state").annotate(Count("pk")).order_by()
    counted = dict(rows)
    return {state: counted.get(state.value, 0) for state in State}


def count_by_queue(jobs: DelayedJobQuerySet | None = None) -> dict[str, dict[State, int]]:
    """The same for each queue, in the order of their names. Reads every row of `jobs`."""
    rows = _rows(jobs).annotate(in_state=STATE).values_list("queue", "in_state").annotate(Count("pk"))
    counts: dict[str, dict[State, int]] = defaultdict(lambda: dict.fromkeys(State, 0))
    for queue, state, count in rows.order_by("queue"):
        counts[queue][State(state)] = count
    return dict(counts)


def lanes(filters: Filters = Filters()) -> list[Lane]:
    """The lanes that these filters serve. Costs as many steps in the index as there are lanes, not rows."""
    served = database(connections[settings.DATABASE], DelayedJob).lanes()
    return [lane for lane in served if filters.serve(lane)]


def latency(filters: Filters = Filters()) -> timedelta:
    """For how long the job that fell due first has been waiting for a worker; 0 when none is due. Cheap."""
    return timedelta(seconds=max((-lane.due_in for lane in lanes(filters) if lane.due_in < 0), default=0))


def late(by: timedelta, jobs: DelayedJobQuerySet | None = None) -> DelayedJobQuerySet:
    """The jobs that fell due more than `by` ago and no worker took; by run_at, not by age."""
    return _rows(jobs).filter(claimable=1, run_at__lt=DatabaseNow(plus=-by))


def queues() -> list[str]:
    """The names of the queues that have waiting, running, newly failed or newly finished jobs, or a setting.

    A `SELECT DISTINCT queue` would read the whole table at each look. This reads the lanes, the running rows
    and the newest ones that failed or finished: a queue that has none but older ones of those is not named.
    """
    jobs = _rows()
    named: Iterable[Any] = chain(
        [settings.DEFAULT_QUEUE],
        settings.QUEUE_ATTRIBUTES,
        (lane.queue for lane in lanes()),
        jobs.running().order_by().values_list("queue", flat=True).distinct(),
        jobs.failed().order_by("-failed_at", "-id").values_list("queue", flat=True)[:NEWEST],
        jobs.finished().order_by("-finished_at").values_list("queue", flat=True)[:NEWEST],
    )
    return sorted(set(named))


def _rows(jobs: DelayedJobQuerySet | None = None) -> DelayedJobQuerySet:
    return DelayedJob.objects.using(settings.DATABASE) if jobs is None else jobs
