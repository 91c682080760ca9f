"""The table of what workers have performed, minute by minute."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import connections, models

from ..conf import settings
from ..databases import DatabaseNow, database

STATS_KEPT = timedelta(hours=72)


class JobStatQuerySet(models.QuerySet["JobStat"]):
    """The numbers of minutes."""

    def prune(self) -> int:
        """Remove those that are older than STATS_KEPT. Returns how many."""
        expired = self.filter(minute__lt=DatabaseNow(plus=-STATS_KEPT))
        removed: int = database(connections[self.db]).repeat_on_conflict(lambda: expired._raw_delete(self.db))
        return removed


class JobStat(models.Model):
    """The numbers of one worker in one minute; a minute without a job has no row.

    No row is changed: each worker writes its own, so nothing has to be added up under a lock. The numbers are
    not by queue: the worker counts on the page that it shares with its supervisor, which has no place for
    names.
    """

    # Random, so that a row is not counted twice if its INSERT is repeated.
    id = models.BigIntegerField(primary_key=True)
    # A moment in the minute, by the clock of the database.
    minute = models.DateTimeField()
    # Attempts that have ended; those of them that failed.
    processed = models.PositiveIntegerField()
    failed = models.PositiveIntegerField()
    # Seconds, for all jobs together: from when they were due until they were claimed, and while they ran.
    # Then the longest wait of one job.
    waited = models.FloatField()
    ran = models.FloatField()
    longest = models.FloatField()

    objects = JobStatQuerySet.as_manager()

    class Meta:
        # Whoever may view delayed jobs may view these in the overview.
        default_permissions = ()
        indexes = [models.Index(fields=["minute"], name="delayed_job_stat")]

    def __str__(self) -> str:
        return f"{self.processed} jobs, {self.minute}"


def all_stats() -> Any:
    """All numbers of minutes, in the database of the queue."""
    return JobStat.objects.using(settings.DATABASE)
