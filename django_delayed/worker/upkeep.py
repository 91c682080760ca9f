"""Chores: bury the dead and give back what they held, remove what was kept long enough."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef

from ..conf import settings
from ..databases.clock import DatabaseNow
from ..exceptions import JobTimeout, WorkerCrashed
from ..execution import settle
from ..jobs import Job
from ..models import DelayedJob, WorkerProcess, WorkerProcessQuerySet
from ..outcomes import choose
from ..signals import job_errored, job_failed
from ..states import DelayedJobQuerySet
from ..tracebacks import describe

logger = logging.getLogger("django_delayed")


def bury(
    worker: str, current: int | None = None, verdict: Callable[[DelayedJob], None] | None = None
) -> None:
    """Give back what a worker that has ended still held, and remove its row.

    `verdict` says what becomes of `current`, the job that it had in hand; the others never began.
    """
    held = _jobs().running().filter(locked_by=worker)
    if verdict:
        for job in held.filter(pk__in=[current]):
            verdict(job)
    _jobs().release(held.all())
    _workers().filter(pk=worker).delete()


def crash(job: DelayedJob, why: str) -> None:
    """The job's worker died while performing it."""
    error = describe(WorkerCrashed(f"The job did not end: {why}."), job.name)
    if not _jobs().crash(job, error):
        return
    about: dict[str, Any] = {"sender": Job, "delayed_job": job, "job": None, "error": error}
    job_errored.send_robust(**about)
    failed = _jobs().failed().filter(pk=job.pk)
    if failed.exists():
        job_failed.send_robust(**about)
        if settings.DESTROY_FAILED_JOBS:
            failed.discard()


def time_out(job: DelayedJob, limit: timedelta) -> None:
    """The job did not heed its deadline, and its worker was ended for it: an error like any other."""
    error = JobTimeout(
        f"{job.name} ran longer than its max_run_time of {limit.total_seconds():g} s, and was killed."
    )
    settle(job, choose(job, Job(), error))


def rescue(lease: timedelta) -> int:
    """Bury every worker whose beat is `lease` old, and every holder that has no row. Returns how many."""
    rescued = 0
    for worker in _workers().silent(lease):
        with transaction.atomic(using=settings.DATABASE):
            # One winner: asked again, in the statement that flips the row.
            if _workers().silent(lease).filter(pk=worker.pk)._raw_delete(settings.DATABASE):
                logger.warning(
                    "Worker %s (%s) gave no sign of life for %s; its jobs go back", worker.pk, worker, lease
                )
                _give_back(_jobs().running().filter(locked_by=worker.pk))
                rescued += 1
    _give_back(_orphans(lease))
    return rescued


class Lookout:
    """Rescues again and again, but for the while after this process itself was cut off, or stood still.

    Then all others seem as silent as the dead: those that were cut off with it are given time to beat again.
    """

    def __init__(self) -> None:
        self._looked = (
            time.time()
        )  # the wall's clock, as the other one may stand still while the machine does
        self._blind_until = 0.0

    def look(self) -> int:
        """Look once, several times a lease. Returns how many workers were buried."""
        lease = settings.LEASE.total_seconds()
        # Changes nothing, but raises while nothing can be written; SQLite can be read even then.
        _workers().filter(pk="").update(beat_at=DatabaseNow())
        now = time.time()
        if now - self._looked > lease / 2:
            self._blind_until = now + lease
        self._looked = now
        return rescue(settings.LEASE) if now >= self._blind_until else 0


def prune() -> int:
    """Remove finished jobs that were kept long enough. Returns how many."""
    return _jobs().prune()


def _give_back(jobs: DelayedJobQuerySet) -> None:
    for job in jobs.exclude(started_at=None):
        crash(job, "its worker gave no more sign of life")
    _jobs().release(jobs.filter(started_at=None))


def _orphans(lease: timedelta) -> DelayedJobQuerySet:
    holder = WorkerProcess.objects.filter(pk=OuterRef("locked_by"))
    held = (
        _jobs().running().filter(locked_by__gt="")
    )  # so that MySQL looks into the index and not at every row
    return held.filter(~Exists(holder), locked_at__lt=DatabaseNow(plus=-lease))


def _jobs() -> DelayedJobQuerySet:
    return DelayedJob.objects.using(settings.DATABASE)


def _workers() -> WorkerProcessQuerySet:
    return WorkerProcess.objects.using(settings.DATABASE)
