"""The claim on one page: which lanes, in which order, how many rows.

1. The *lanes* are the (queue, priority) pairs that have waiting rows, each with the time when its first row
   is due, and whether its queue is paused. Finding them costs as many steps in one index as there are lanes,
   whatever else is in the table.
2. The lanes that are due and not paused, and that the worker serves, are sorted: best priority first, then
   the one with the row that has been due the longest. With `--in-order`, the place of the queue comes before
   both.
3. `Database.take` locks the first rows of these lanes and writes worker, token and time into them.

So scheduled rows, rows of other queues and failed rows cost a claim nothing. A claim takes two statements on
every database, although PostgreSQL and SQLite could do it in one. As the second one names the lanes, a list
of many lanes can be remembered, filters are plain Python, and the same list tells when the next job is due.
The price is one round trip a batch.
"""

from __future__ import annotations

import functools
import logging
import math
import operator
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import DataError, connections
from django.db.models import Q

from .conf import INTEGERS
from .databases import Claim, Database, Filters, Lane, Removal, database

if TYPE_CHECKING:
    from .models import DelayedJob
    from .states import DelayedJobQuerySet

# The lowest and the highest number of lanes that one statement looks into.
LANES_A_STATEMENT, MOST_LANES_A_STATEMENT = 10, 100
# Lanes. To find up to 100 takes almost no time on any database; to find 1,000 takes 4 ms.
REMEMBER_ABOVE = 100
REMEMBER_FOR = 1.0  # seconds that a longer list is used for

# The columns that a worker, the job itself and the receivers of signals may read. None may be deferred, but a
# large payload: a deferred field cannot be read when the row has been deleted.
COLUMNS = (
    *("id", "name", "about", "payload", "queue", "priority", "run_at", "attempts", "crashes", "max_attempts"),
    *("last_error", "error_class", "error_message", "error_fingerprint", "locked_at", "locked_by"),
    *("lock_token", "started_at", "keep_for", "extras", "created_at"),
)
# The other columns have these values in every row that has just been claimed.
KNOWN = {"failed_at": None, "finished_at": None, "expires_at": None, "claimable": None, "result": ""}

# The next attempt has to fit, too.
ATTEMPTS = INTEGERS[:-1]

# The errors that drivers and Django raise for a value that a column of its type should not have.
UNREADABLE = (DataError, ValueError, TypeError, OverflowError, ArithmeticError)

# For each alias: when its lanes were read, on the monotonic clock; the list; for how many seconds it is used.
_remembered: dict[str, tuple[float, list[Lane], float]] = {}
_NOTHING: tuple[float, list[Lane], float] = (-math.inf, [], 0.0)
_reported: set[tuple[str, str]] = set()

logger = logging.getLogger("django_delayed")


def claim(
    rows: DelayedJobQuerySet,
    worker: str,
    limit: int,
    filters: Filters,
    recent: float = 0.0,
    removal: Removal | None = None,
) -> list[DelayedJob]:
    """Claim at most `limit` due rows for this worker. Returns them in the order to perform them.

    It uses a list of lanes that is less than `recent` seconds old, and reads a new one if no row is found in
    these. The removal is not made if no lane is due.
    """
    ready = [lane for lane in _served(lanes(rows, recent), filters) if lane.due_in <= 0]
    ready.sort(key=filters.rank)
    width = max(LANES_A_STATEMENT, min(limit, MOST_LANES_A_STATEMENT))
    while ready:
        asked, ready = ready[:width], ready[width:]
        taken = _take(rows, Claim(worker, limit, COLUMNS, removal), asked)
        removal = None
        if len(taken) < limit:
            _forget(rows.db, asked)
        if taken:
            return _in_order(taken, asked)
    return claim(rows, worker, limit, filters, removal=removal) if recent else []


def lanes(rows: DelayedJobQuerySet, recent: float = 0.0) -> list[Lane]:
    """All lanes. A list less than `recent` seconds old is used again, and a long one for REMEMBER_FOR."""
    read_at, known, good_for = _remembered.get(rows.db, _NOTHING)
    age = time.monotonic() - read_at
    if age < max(good_for, recent):
        return [replace(lane, due_in=lane.due_in - age) for lane in known]
    backend = _database(rows)
    table, paused = backend.table_of(rows.model), backend.table_of(rows.model.paused_queues)
    scanned = backend.repeat_on_conflict(lambda: list(backend.scan_lanes(table, paused)))
    found = [Lane(*lane) for lane in scanned if _is_sound_lane(*lane)]
    good_for = REMEMBER_FOR if len(found) > REMEMBER_ABOVE else 0.0
    _remembered[rows.db] = time.monotonic(), found, good_for
    return found


def forget_lanes() -> None:
    """Read the lanes again at the next claim, because the table or the time has changed."""
    _remembered.clear()


def next_due(rows: DelayedJobQuerySet, filters: Filters, recent: float = 0.0) -> float | None:
    """Seconds until the first row for this worker is due (<= 0: it is due), None when none waits.

    A list of lanes less than `recent` seconds old is used again, unless a claim has emptied lanes of it.
    """
    return min((lane.due_in for lane in _served(lanes(rows, recent), filters)), default=None)


def _served(lanes: list[Lane], filters: Filters) -> list[Lane]:
    return [lane for lane in lanes if filters.serve(lane) and not lane.is_paused]


def _take(rows: DelayedJobQuerySet, claim: Claim, asked: Sequence[Lane]) -> list[DelayedJob]:
    backend = _database(rows)
    try:
        taken: list[DelayedJob] = backend.repeat_on_conflict(lambda: backend.take(rows, claim, asked))
    except UNREADABLE:
        _set_aside_unreadable(rows, claim, asked)
        return []
    for row in taken:
        row.__dict__.update(KNOWN)
    if odd := [row for row in taken if not _is_sound(row)]:
        for row in odd:
            if row.payload is None:
                # It is large: Django reads it when its job is loaded.
                del row.__dict__["payload"]
        if unreadable := [row.pk for row in odd if not _is_sound(row)]:
            rows.set_aside(unreadable)
            taken = [row for row in taken if row.pk not in unreadable]
    return taken


def _set_aside_unreadable(rows: DelayedJobQuerySet, claim: Claim, asked: Sequence[Lane]) -> None:
    """Set aside the rows that made this claim fail: each row that it wanted or holds is read by itself."""
    lanes = [Q(queue=lane.queue, priority=lane.priority) for lane in asked]
    wanted = rows.ready().filter(functools.reduce(operator.or_, lanes)).order_by("run_at", "pk")
    held = rows.running().filter(locked_by=claim.worker, lock_token=claim.token)
    for pk in [*held.values_list("pk", flat=True), *wanted.values_list("pk", flat=True)[: claim.limit]]:
        try:
            is_sound = _is_sound(rows.model._base_manager.using(rows.db).only(*COLUMNS).get(pk=pk))
        except UNREADABLE:
            is_sound = False
        if not is_sound:
            rows.set_aside([pk])
    rows.release_claim(claim.worker, claim.token)


def _is_sound_lane(queue: str, priority: Any, due_in: Any, is_paused: Any) -> bool:
    # SQLite stores a text in a column of numbers or times if an UPDATE by hand writes one.
    if isinstance(priority, int) and isinstance(due_in, float | int):
        return True
    if (queue, str(priority)) not in _reported:
        _reported.add((queue, str(priority)))
        logger.error("A row of queue %r has a priority or run_at that cannot be read; it is skipped", queue)
    return False


def _is_sound(row: DelayedJob) -> bool:
    """Whether a worker can handle the row: no UPDATE by hand has written a text, or a number out of range."""
    numbers = (row.priority, row.attempts, row.crashes, row.max_attempts, row.lock_token)
    return (
        {*map(type, numbers)} == {int}
        and row.attempts in ATTEMPTS
        and isinstance(row.run_at, datetime)
        and isinstance(row.__dict__.get("payload", ""), str)
    )


def _in_order(taken: list[DelayedJob], asked: Sequence[Lane]) -> list[DelayedJob]:
    # RETURNING returns rows in no order.
    place = {(lane.queue, lane.priority): number for number, lane in enumerate(asked)}
    return sorted(taken, key=lambda row: (place.get((row.queue, row.priority), 0), row.run_at, row.pk))


def _forget(alias: str, emptied: Sequence[Lane]) -> None:
    read_at, known, good_for = _remembered.pop(alias, _NOTHING)
    gone = {(lane.queue, lane.priority) for lane in emptied}
    # It is not known when their next row is due, so a list that is short or used up is read again.
    if good_for and (left := [lane for lane in known if (lane.queue, lane.priority) not in gone]):
        _remembered[alias] = read_at, left, good_for


def _database(rows: DelayedJobQuerySet) -> Database:
    return database(connections[rows.db])
