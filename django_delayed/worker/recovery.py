"""Release what ended or dead workers held, and remove the rows of these workers."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import NoReturn

from django.db import transaction
from django.db.models import Exists, OuterRef, Value

from ..conf import settings
from ..databases import DatabaseNow
from ..execution.deaths import decide_after_death, decide_after_kill
from ..execution.outcomes import Crashed
from ..execution.settle import Performed, announce, settle, write_outcomes
from ..models import (
    WorkerProcess,
    WorkerProcessQuerySet,
    WorkerRequest,
    all_attempts,
    all_rows,
)
from ..states import DelayedJobQuerySet
from .cancelling import Decide
from .counting import tally_of
from .ledger import Unsettled
from .slot import Current
from .tally import Tally

logger = logging.getLogger("django_delayed")


def release_and_deregister(
    worker: str,
    currents: Collection[int] = (),
    decide: Decide | None = None,
    unsettled: Sequence[Unsettled] = (),
) -> Tally:
    """Settle what a worker that has ended had performed, release what it still held, and remove its row.

    `unsettled` is what its ledgers say. `decide` returns the outcome of each of `currents`, the jobs that it
    was performing; without it, they are released too. The others had not begun. Returns what was settled.
    """
    settled = Tally(settle_performed(worker, unsettled))
    held = all_rows().running().filter(locked_by=worker)
    if decide and currents and (rows := list(held.filter(pk__in=currents))):
        performed = [(row, decide(row)) for row in rows]
        lost = settle(performed)
        settled = settled.plus(tally_of((row, outcome) for row, outcome in performed if row not in lost))
    all_rows().release(held.only("locked_by", "lock_token"))
    with transaction.atomic(using=settings.DATABASE):
        _remove(_workers(), worker)
    return settled


def settle_performed(worker: str, unsettled: Sequence[Unsettled]) -> int:
    """Move the rows of jobs that this worker has performed, according to its ledgers. Returns how many.

    No signals are sent: only the worker knows their jobs.
    """
    moved = 0
    for ledger in unsettled:
        if ledger.ids and (number := _settle(worker, ledger)):
            moved += number
            what = "%s jobs were settled that worker %s had performed"
            logger.info(what, number, worker, extra={"worker": worker})
    return moved


def _settle(worker: str, ledger: Unsettled) -> int:
    number = len(all_rows().finish_together(worker, ledger.token, ledger.ids))
    if number < len(ledger.ids):
        kept = all_rows().running().filter(pk__in=ledger.ids, locked_by=worker, lock_token=ledger.token)
        for row in kept:
            row.result = ledger.results.get(row.pk, row.result)
            number += all_rows().finish(row)
    return number


def time_out(worker: str, current: Current) -> Tally:
    """As `settle_current`, for a job that has outlived its max_run_time."""
    limit, how = current.limit or timedelta(0), "its worker was told to end"
    return settle_current(worker, current, lambda row: decide_after_kill(row, limit, how))


def settle_current(worker: str, current: Current, decide: Decide) -> Tally:
    """Settle a job that a thread of a worker is still performing. Returns what was settled.

    The outcome of the thread is refused later, as the claim is over. Raises the database's error while the
    row is locked; call it again then. Waiting for an atomic job that hangs at its commit would keep this
    process from sending heartbeats.
    """
    held = all_rows().running().filter(pk=current.id, locked_by=worker, lock_token=current.token)
    with transaction.atomic(using=settings.DATABASE):
        performed: list[Performed] = [(row, decide(row)) for row in held.select_for_update(nowait=True)]
        lost = write_outcomes(performed)
    written = [(row, outcome) for row, outcome in performed if row not in lost]
    announce(written)
    return tally_of(written)


def release_and_exit(
    worker: str,
    currents: Collection[int] = (),
    decide: Decide | None = None,
    unsettled: Sequence[Unsettled] = (),
) -> NoReturn:
    """As `release_and_deregister`, for the worker of this process; then end it, whatever it is doing."""
    try:
        release_and_deregister(worker, currents, decide, unsettled)
    finally:
        os._exit(1)


def recover_stale() -> int:
    """Recover the jobs of every worker with a heartbeat a lease old, and of every holder without a row.

    Returns how many workers were removed.
    """
    removed = 0
    # One statement in place of several, as long as no worker has died.
    if not _is_anything_stale():
        return removed
    for worker in _stale_workers():
        removed += _recover_worker(worker)
    announce(_recover(_orphans(), hostname=""))
    return removed


def _is_anything_stale() -> bool:
    workers, orphans = (rows.order_by().values_list(Value(1)) for rows in (_stale_workers(), _orphans()))
    return workers.union(orphans, all=True).exists()


def _recover_worker(worker: WorkerProcess) -> bool:
    """Remove the row of a stale worker and recover its jobs. False if it is not stale, or gone already."""
    with transaction.atomic(using=settings.DATABASE):
        # The row is deleted and not flagged. This DELETE checks the age of the heartbeat again, and only one
        # process succeeds. A holder without a row counts as dead, and nothing has to be cleaned up later.
        if not _remove(_stale_workers(), worker.pk):
            return False
        crashed = _recover(all_rows().running().filter(locked_by=worker.pk), worker.hostname)
    what = "Worker %s (%s) sent no heartbeat for %s; its jobs were released"
    logger.warning(what, worker.pk, worker, settings.LEASE)
    announce(crashed)
    return True


def _recover(held: DelayedJobQuerySet, hostname: str) -> list[Performed]:
    """Write the crashes of the jobs that had started, and release the others. Returns what to announce."""
    why = "its worker sent no more heartbeats"
    # Together: what is written here is announced only when this returns.
    with transaction.atomic(using=settings.DATABASE):
        started = list(held.exclude(started_at=None))
        jobs = Counter(row.locked_by for row in started)
        free = _lock(held)
        crashed: list[Performed] = [
            (row, decide_after_death(row, why, jobs[row.locked_by] == 1)) for row in started if row.pk in free
        ]
        lost = write_outcomes(crashed)
        if died := [row for row, outcome in crashed if isinstance(outcome, Crashed)]:
            all_attempts().ended_on(hostname, died)
        waiting = held.filter(started_at=None, pk__in=free)
        all_rows().release(waiting.only("locked_by", "lock_token"))
    return [(row, outcome) for row, outcome in crashed if row not in lost]


def _lock(held: DelayedJobQuerySet) -> set[int]:
    """Lock these rows. Returns the ids of those that no other transaction has locked.

    A worker that hangs at the commit of an atomic job keeps the row locked. Waiting for that would keep this
    process from sending heartbeats. The holder has no row any more, so a later check recovers the job.
    """
    ids = list(held.values_list("pk", flat=True))
    # By their keys: by another index, MariaDB would lock their neighbours too.
    rows = all_rows().filter(pk__in=ids).select_for_update(skip_locked=True)
    return set(rows.values_list("pk", flat=True)) if ids else set()


def _remove(among: WorkerProcessQuerySet, worker: str) -> bool:
    """Remove the row of the worker and what was asked of it. False if it is not among these rows."""
    removed = among.filter(pk=worker)._raw_delete(settings.DATABASE)
    if removed:
        WorkerRequest.objects.using(settings.DATABASE).filter(worker=worker).delete()
    return bool(removed)


def _orphans() -> DelayedJobQuerySet:
    holder = WorkerProcess.objects.filter(pk=OuterRef("locked_by"))
    # `locked_by > ""` leads MySQL to the index; without it, every row is read.
    held = all_rows().running().filter(locked_by__gt="")
    return held.filter(~Exists(holder), locked_at__lt=DatabaseNow(plus=-settings.LEASE))


def _workers() -> WorkerProcessQuerySet:
    return WorkerProcess.objects.using(settings.DATABASE)


def _stale_workers() -> WorkerProcessQuerySet:
    return _workers().stale(settings.LEASE)
