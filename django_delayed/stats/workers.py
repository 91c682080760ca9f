"""Which workers there are, and which lanes they claim from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..conf import settings
from ..databases import Filters, Lane
from ..models import WorkerProcess


def workers() -> list[Any]:
    """All workers by host and pid; `alive` says whether the last heartbeat is recent. One statement."""
    rows = WorkerProcess.objects.using(settings.DATABASE).with_alive(settings.LEASE)
    return list(rows.order_by("hostname", "pid"))


def claiming(workers: Iterable[Any]) -> list[Any]:
    """The workers among these that claim jobs: they are alive, and not quiet."""
    return [worker for worker in workers if worker.alive and not worker.quiet]


def slots(workers: Iterable[Any]) -> int:
    """How many jobs these workers perform at the same time at most."""
    return sum(len(worker.current_jobs) for worker in workers)


def served_by(lane: Lane, workers: Sequence[Any]) -> int:
    """How many of these workers claim from the lane."""
    return sum(_filters_of(worker).serve(lane) for worker in workers)


def _filters_of(worker: WorkerProcess) -> Filters:
    queues = tuple(worker.queues.split(",")) if worker.queues else ()
    return Filters(queues, worker.min_priority, worker.max_priority)
