"""Release what workers held that have ended or died, and remove their rows."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import timedelta
from typing import NoReturn

from django.db import transaction
from django.db.models import Exists, OuterRef

from ..conf import settings
from ..databases import DatabaseNow
from ..execution.outcomes import Outcome, decide_after_crash
from ..execution.settle import Performed, announce, settle, write_outcomes
from ..models import DelayedJob, WorkerProcess, WorkerProcessQuerySet, all_rows
from ..states import DelayedJobQuerySet

logger = logging.getLogger("django_delayed")


def release_and_deregister(
    worker: str, current: int | None = None, decide: Callable[[DelayedJob], Outcome] | None = None
) -> None:
    """Release what a worker that has ended still held, and remove its row.

    `decide` returns the outcome of `current`, the job that it was performing; without it, that is released
    too. The others had not begun.
    """
    held = all_rows().running().filter(locked_by=worker)
    if decide and current is not None and (row := held.filter(pk=current).first()):
        settle([(row, decide(row))])
    all_rows().release(held.only("locked_by", "lock_token"))
    _workers().filter(pk=worker).delete()


def release_and_exit(
    worker: str, current: int | None = None, decide: Callable[[DelayedJob], Outcome] | None = None
) -> NoReturn:
    """As `release_and_deregister`, for the worker of this process; then end it, whatever it is in."""
    try:
        release_and_deregister(worker, current, decide)
    finally:
        os._exit(1)


def recover_stale(lease: timedelta) -> int:
    """Recover the jobs of every worker whose heartbeat is `lease` old, and of every holder without a row.

    Returns how many workers were removed.
    """
    removed = 0
    for worker in _workers().stale(lease):
        removed += _recover_worker(worker, lease)
    announce(_recover(_orphans(lease)))
    return removed


def _recover_worker(worker: WorkerProcess, lease: timedelta) -> bool:
    """Remove the row of a stale worker and recover its jobs. False if it is not stale, or gone already."""
    with transaction.atomic(using=settings.DATABASE):
        # The row is deleted and not flagged: this DELETE, which asks for the age of the heartbeat again, has
        # one winner, a holder without a row counts as dead, and nothing has to be cleaned up later.
        if not _workers().stale(lease).filter(pk=worker.pk)._raw_delete(settings.DATABASE):
            return False
        crashed = _recover(all_rows().running().filter(locked_by=worker.pk))
    logger.warning(
        "Worker %s (%s) sent no heartbeat for %s; its jobs were released", worker.pk, worker, lease
    )
    announce(crashed)
    return True


def _recover(held: DelayedJobQuerySet) -> list[Performed]:
    """Write the crashes of the jobs that had started, and release the others. Returns what to announce."""
    why = "its worker sent no more heartbeats"
    # Together: what is written here is announced only when this returns.
    with transaction.atomic(using=settings.DATABASE):
        crashed: list[Performed] = [
            (row, decide_after_crash(row, why)) for row in held.exclude(started_at=None)
        ]
        lost = write_outcomes(crashed)
        all_rows().release(held.filter(started_at=None).only("locked_by", "lock_token"))
    return [(row, outcome) for row, outcome in crashed if row not in lost]


def _orphans(lease: timedelta) -> DelayedJobQuerySet:
    holder = WorkerProcess.objects.filter(pk=OuterRef("locked_by"))
    # `locked_by > ""` leads MySQL to the index; without it, every row is read.
    held = all_rows().running().filter(locked_by__gt="")
    return held.filter(~Exists(holder), locked_at__lt=DatabaseNow(plus=-lease))


def _workers() -> WorkerProcessQuerySet:
    return WorkerProcess.objects.using(settings.DATABASE)
