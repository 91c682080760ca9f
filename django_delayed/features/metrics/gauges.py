"""The metrics: their names, what they mean, and where their values come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ...stats import MOST_COUNTED, Performed, QueueNumbers, Snapshot
from .exposition import Gauge, Sample

PREFIX = "django_delayed_"
COUNTED = f"Counted up to {MOST_COUNTED}; one more stands for all higher numbers."
LAST_MINUTE = "in the last minute that all workers have written down"

OF_QUEUES: Mapping[str, tuple[str, Callable[[QueueNumbers], float]]] = {
    "jobs_waiting": (f"Jobs that wait, due or not. {COUNTED}", lambda queue: queue.waiting),
    "jobs_due": (f"Jobs that are due and wait for a worker. {COUNTED}", lambda queue: queue.due),
    "jobs_running": ("Jobs that are performed, or claimed for that.", lambda queue: queue.running),
    "jobs_failed": (f"Failed jobs, of the {MOST_COUNTED} that failed last.", lambda queue: queue.failed),
    "queue_latency_seconds": (
        "For how long the job that fell due first has been waiting for a worker.",
        lambda queue: queue.oldest.total_seconds(),
    ),
    "queue_paused": ("1 while the queue is paused and has waiting jobs.", lambda queue: queue.is_paused),
}
OF_ALL: Mapping[str, tuple[str, Callable[[Snapshot], float]]] = {
    "jobs_retrying": (f"Jobs that failed and are tried again. {COUNTED}", lambda all: all.totals.retrying),
    "jobs_failed_last_hour": (
        f"Jobs that failed for good in the last hour and are still failed. {COUNTED}",
        lambda all: all.totals.failed_lately,
    ),
    "slots": ("Jobs that the claiming workers perform at the same time.", lambda all: all.workers.slots),
    "lanes": ("Pairs of queue and priority that have waiting jobs.", lambda all: all.lanes),
    "oldest_transaction_seconds": (
        "Age of the open transaction that makes the database keep removed rows; 0 if unknown.",
        lambda all: all.oldest_transaction.total_seconds(),
    ),
}
OF_LAST_MINUTE: Mapping[str, tuple[str, Callable[[Performed], float]]] = {
    "attempts_per_minute": (f"Attempts that ended {LAST_MINUTE}.", lambda last: last.processed),
    "failed_attempts_per_minute": (f"Attempts that failed {LAST_MINUTE}.", lambda last: last.failed),
    "wait_average_seconds": (f"How long jobs waited on average {LAST_MINUTE}.", lambda last: last.average),
    "wait_longest_seconds": (f"How long a job waited at most {LAST_MINUTE}.", lambda last: last.longest),
}


def gauges(snapshot: Snapshot) -> Iterator[Gauge]:
    """All metrics. Their labels are names of queues, as many as a snapshot has, and three states."""
    for name, (meaning, value_of) in OF_QUEUES.items():
        values = {queue: value_of(numbers) for queue, numbers in snapshot.queues.items()}
        yield _labelled(name, meaning, "queue", values)
    served = "Workers that claim from the queue; from its priority with the fewest workers."
    yield _labelled("queue_workers", served, "queue", snapshot.served_by)
    found = snapshot.workers
    states = {"claiming": found.claiming, "quiet": found.quiet, "silent": found.silent}
    yield _labelled("workers", "Workers; a silent one has sent no heartbeat for a lease.", "state", states)
    for name, (meaning, value_of_all) in OF_ALL.items():
        yield _single(name, meaning, value_of_all(snapshot))
    for name, (meaning, value_of_last) in OF_LAST_MINUTE.items():
        last = snapshot.last_minute
        yield _single(name, meaning, value_of_last(last) if last else 0)


def _labelled(name: str, meaning: str, label: str, values: Mapping[str, float]) -> Gauge:
    samples = [Sample(value, {label: labelled}) for labelled, value in values.items()]
    return Gauge(PREFIX + name, meaning, samples)


def _single(name: str, meaning: str, value: float) -> Gauge:
    return Gauge(PREFIX + name, meaning, [Sample(value, {})])
