"""All numbers about the queue at one moment, for monitoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from django.db import connections

from ..conf import settings
from ..databases import Lane, database
from .counts import Totals, totals
from .throughput import MINUTE, Performed, Span, throughput
from .waiting import QueueNumbers, lanes, queue_numbers
from .workers import claiming, served_by, slots, workers

# Queues that a snapshot names at most, beside those of the settings.
MOST_QUEUES = 100


@dataclass(frozen=True)
class WorkerNumbers:
    """How many workers claim, are quiet, and have sent no heartbeat for a lease.

    `slots` is how many jobs the claiming workers perform at the same time at most.
    """

    claiming: int
    quiet: int
    silent: int
    slots: int


@dataclass(frozen=True)
class Snapshot:
    """The numbers of one moment.

    - `served_by`: for each queue, how many workers claim from the priority that the fewest claim from; if
      jobs are due, only their priorities count;
    - `lanes`: the number of pairs of queue and priority that have waiting jobs;
    - `last_minute`: what was performed in the last minute that all workers have written down; None for
      nothing;
    - `oldest_transaction`: the age of the transaction in another session that makes the database keep removed
      rows; 0 if there is none, or if the database does not tell.
    """

    queues: dict[str, QueueNumbers]
    served_by: dict[str, int]
    totals: Totals
    lanes: int
    workers: WorkerNumbers
    last_minute: Performed | None
    oldest_transaction: timedelta

    def as_json(self) -> dict[str, Any]:
        """The numbers as a dict for JSON; durations are seconds."""
        last = self.last_minute
        return {
            "queues": {
                name: asdict(numbers)
                | {"oldest": numbers.oldest.total_seconds(), "served_by": self.served_by[name]}
                for name, numbers in self.queues.items()
            },
            **self.totals._asdict(),
            "lanes": self.lanes,
            "workers": asdict(self.workers),
            "last_minute": {
                "processed": last.processed if last else 0,
                "failed": last.failed if last else 0,
                "average_wait": last.average if last else 0.0,
                "longest_wait": last.longest if last else 0.0,
            },
            "oldest_transaction": self.oldest_transaction.total_seconds(),
        }


def snapshot() -> Snapshot:
    """The current numbers. Takes eight statements, and none of them reads a whole table.

    It has the queues of the settings, and at most MOST_QUEUES of all queues. Above 400 lanes with due jobs,
    it takes one more statement for each 500 of them.
    """
    waiting, found = lanes(), workers()
    named = [settings.DEFAULT_QUEUE, *settings.QUEUE_ATTRIBUTES]
    queues = {name: QueueNumbers() for name in named} | queue_numbers(waiting, MOST_QUEUES)
    active = claiming(found)
    silent = sum(not worker.alive for worker in found)
    performed = throughput(Span(1, MINUTE))
    oldest = database(connections[settings.DATABASE]).oldest_transaction()
    return Snapshot(
        queues,
        {name: min(served_by(lane, active) for lane in _lanes_of(name, waiting)) for name in queues},
        totals(),
        len(waiting),
        WorkerNumbers(len(active), len(found) - len(active) - silent, silent, slots(active)),
        performed[0] if performed else None,
        oldest.age if oldest else timedelta(0),
    )


def _lanes_of(queue: str, waiting: Sequence[Lane]) -> list[Lane]:
    own = [lane for lane in waiting if lane.queue == queue]
    priority = settings.QUEUE_ATTRIBUTES.get(queue, {}).get("priority", settings.DEFAULT_PRIORITY)
    return [lane for lane in own if lane.due_in <= 0] or own or [Lane(queue, priority, 0.0)]
