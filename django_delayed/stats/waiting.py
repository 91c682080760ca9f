"""What waits in which lanes and queues, and for how long."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import Any

from django.db import connections
from django.db.models import Count

from .. import claiming
from ..conf import settings
from ..databases import LANES_INDEX, Filters, Lane
from ..models import all_rows
from .counts import MOST_COUNTED, by_index, capped_counts

# Finished and failed rows that are read for their queues; no index has such rows by queue.
NEWEST = 1000


@dataclass
class QueueNumbers:
    """How many jobs of a queue wait, are due, run and have failed; for how long the first due one has waited.

    `waiting` and `due` are counted up to MOST_COUNTED; one more stands for all higher numbers. `failed` is
    counted among the MOST_COUNTED jobs of all queues that failed last.
    """

    waiting: int = 0
    due: int = 0
    oldest: timedelta = timedelta(0)
    running: int = 0
    failed: int = 0
    is_paused: bool = False


def lanes(filters: Filters = Filters()) -> list[Lane]:
    """The lanes that these filters serve. Costs as many steps in the index as there are lanes, not rows."""
    return [lane for lane in claiming.lanes(all_rows()) if filters.serve(lane)]


def latency(filters: Filters = Filters()) -> timedelta:
    """For how long the job that fell due first has been waiting for a worker; 0 when none is due."""
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


def queue_numbers(waiting: list[Lane], most: int) -> dict[str, QueueNumbers]:
    """The numbers of at most so many queues, by name: queues with jobs that are due first, then by name.

    `waiting` are all `lanes`. Three statements, each by an index alone. A queue without waiting, running or
    failed jobs is not named.
    """
    found: dict[str, QueueNumbers] = defaultdict(QueueNumbers)
    for lane in waiting:
        numbers = found[lane.queue]
        numbers.oldest = max(numbers.oldest, timedelta(seconds=-lane.due_in))
        numbers.is_paused = bool(lane.is_paused)
    for queue, number in all_rows().running().order_by().values_list("queue").annotate(Count("pk")):
        found[queue].running = number
    for queue, number in _count_failed():
        found[queue].failed = number
    shown = dict(sorted(found.items(), key=lambda item: (not item[1].oldest, item[0]))[:most])
    _count_waiting(shown, [lane for lane in waiting if lane.queue in shown])
    return shown


def _count_failed() -> list[tuple[str, int]]:
    # With a limit: for 100,000 jobs the index alone takes 15 ms, and 200 ms until its pages are vacuumed.
    newest = all_rows().failed().order_by("-failed_at", "-id").values("queue")[:MOST_COUNTED]
    connection = connections[settings.DATABASE]
    sql, params = newest.query.get_compiler(connection=connection).as_sql()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT queue, COUNT(*) FROM ({sql}) newest GROUP BY queue", params)
        return list(cursor.fetchall())


def _count_waiting(queues: dict[str, QueueNumbers], waiting: list[Lane]) -> None:
    names = sorted({lane.queue for lane in waiting})
    due = [lane for lane in waiting if lane.due_in <= 0]
    ready, all_waiting = (by_index(rows, LANES_INDEX) for rows in (all_rows().ready(), all_rows().waiting()))
    by_queue = [all_waiting.filter(queue=name) for name in names]
    by_lane = [ready.filter(queue=lane.queue, priority=lane.priority) for lane in due]
    counts = iter(capped_counts([*by_queue, *by_lane]))
    for name in names:
        queues[name].waiting = next(counts)
    for lane in due:
        queues[lane.queue].due = min(queues[lane.queue].due + next(counts), MOST_COUNTED + 1)
