"""The numbers about the queue that the admin and the commands show."""

from .counts import (
    MOST_COUNTED,
    Totals,
    by_index,
    capped_counts,
    count_by_state,
    first_ids,
    ids_by_state,
    newest_first,
    totals,
)
from .failures import (
    DAY,
    MOST_RETRYING,
    NEWEST,
    SORTED_BY,
    Cause,
    RetryingCause,
    cause,
    causes,
    failed_on,
    retrying_causes,
)
from .snapshots import Snapshot, WorkerNumbers, snapshot
from .throughput import SPANS, Performed, Span, throughput, total
from .waiting import QueueNumbers, lanes, latency, queue_numbers, queues
from .workers import claiming, served_by, slots, workers

__all__ = [
    "DAY",
    "MOST_COUNTED",
    "MOST_RETRYING",
    "NEWEST",
    "SORTED_BY",
    "SPANS",
    "Cause",
    "Performed",
    "QueueNumbers",
    "RetryingCause",
    "Snapshot",
    "Span",
    "Totals",
    "WorkerNumbers",
    "by_index",
    "capped_counts",
    "cause",
    "causes",
    "claiming",
    "count_by_state",
    "failed_on",
    "first_ids",
    "ids_by_state",
    "lanes",
    "latency",
    "newest_first",
    "queue_numbers",
    "queues",
    "retrying_causes",
    "served_by",
    "slots",
    "snapshot",
    "throughput",
    "total",
    "totals",
    "workers",
]
