"""The claim on one page: which lanes, in which order, how many rows.

1. The *lanes* are the (queue, priority) pairs that have waiting rows, each with the time when its first row
   is due. Finding them costs as many steps in one index as there are lanes, whatever else is in the table.
2. The lanes that are due and that the worker serves are sorted: best priority first, then the one whose first
   row has been due the longest.
3. `Database.take` locks the first rows of these lanes and writes worker, token and time into them.

So neither scheduled rows, nor rows of other queues, nor failed ones cost a claim anything. It is two
steps on every database, although PostgreSQL and SQLite could do with one: the second names the lanes, so a
list of many lanes can be remembered, filters are plain Python, and the same list tells when the next job is
due. The price is one round trip a batch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.db import connections, models

from .databases import Claim, Database, Filters, Lane, database

if TYPE_CHECKING:
    from .models import DelayedJob

# Lanes that one statement looks into at least, and at most.
LANES_A_STATEMENT, MOST_LANES_A_STATEMENT = 10, 100
# Lanes; finding up to 100 costs next to nothing on every database, 1,000 cost 4 ms.
REMEMBER_ABOVE = 100
REMEMBER_FOR = 1.0  # seconds that a longer list is good for

# What a worker, the job itself and the receivers of signals may ask of a row. None of it may be deferred: a
# field that is read later cannot be read when the row is deleted by then.
COLUMNS = (
    *("id", "name", "about", "payload", "queue", "priority", "run_at", "attempts", "crashes", "max_attempts"),
    *(
        "last_error",
        "error_class",
        "error_message",
        "error_fingerprint",
        "locked_at",
        "locked_by",
        "lock_token",
    ),
    *("started_at", "keep_for", "extras", "created_at"),
)
# The other columns have these values in every row that has just been claimed.
KNOWN = {"failed_at": None, "finished_at": None, "expires_at": None, "claimable": None, "result": ""}

# For each alias: when its lanes were read, on the monotonic clock, and the list if it was a long one.
_remembered: dict[str, tuple[float, list[Lane]]] = {}


def claim(rows: models.QuerySet[Any], worker: str, limit: int, filters: Filters) -> list[DelayedJob]:
    """Claim at most `limit` due rows for this worker. Returns them in the order to perform them."""
    ready = [lane for lane in lanes(rows) if filters.serve(lane) and lane.due_in <= 0]
    ready.sort(key=lambda lane: (lane.priority, lane.due_in))
    width = max(LANES_A_STATEMENT, min(limit, MOST_LANES_A_STATEMENT))
    while ready:
        asked, ready = ready[:width], ready[width:]
        taken = _take(rows, Claim(worker, limit, COLUMNS), asked)
        if len(taken) < limit:
            _forget(rows.db, asked)
        if taken:
            return _in_order(taken, asked)
    return []


def lanes(rows: models.QuerySet[Any]) -> list[Lane]:
    """All lanes now; a list of more than REMEMBER_ABOVE may be up to REMEMBER_FOR seconds old."""
    read_at, known = _remembered.get(rows.db, (0.0, []))
    age = time.monotonic() - read_at
    if known and age < REMEMBER_FOR:
        return [Lane(lane.queue, lane.priority, lane.due_in - age) for lane in known]
    backend = _database(rows)
    table = backend.table_of(rows.model)
    found = [Lane(*lane) for lane in backend.repeat_on_conflict(lambda: list(backend.scan_lanes(table)))]
    _remembered[rows.db] = time.monotonic(), found if len(found) > REMEMBER_ABOVE else []
    return found


def next_due(rows: models.QuerySet[Any], filters: Filters) -> float | None:
    """Seconds until the first row for this worker is due (<= 0: it is due), None when none waits."""
    return min((lane.due_in for lane in lanes(rows) if filters.serve(lane)), default=None)


def _take(rows: models.QuerySet[Any], claim: Claim, asked: Sequence[Lane]) -> list[DelayedJob]:
    backend = _database(rows)
    taken: list[DelayedJob] = backend.repeat_on_conflict(lambda: backend.take(rows, claim, asked))
    for row in taken:
        row.__dict__.update(KNOWN)
    return taken


def _in_order(taken: list[DelayedJob], asked: Sequence[Lane]) -> list[DelayedJob]:
    # RETURNING has no order of its own.
    place = {(lane.queue, lane.priority): number for number, lane in enumerate(asked)}
    return sorted(taken, key=lambda row: (place.get((row.queue, row.priority), 0), row.run_at, row.pk))


def _forget(alias: str, emptied: Sequence[Lane]) -> None:
    read_at, known = _remembered.get(alias, (0.0, []))
    gone = {(lane.queue, lane.priority) for lane in emptied}
    _remembered[alias] = read_at, [lane for lane in known if (lane.queue, lane.priority) not in gone]


def _database(rows: models.QuerySet[Any]) -> Database:
    return database(connections[rows.db])
