"""The table of the progress of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Exists, OuterRef

from ...conf import settings
from ...databases import DatabaseNow
from ...states import batches
from .said import NOTE_LIMIT, Said

if TYPE_CHECKING:
    from ...models import DelayedJob


class ProgressQuerySet(models.QuerySet["Progress"]):
    """The progress of jobs."""

    def put(self, row: DelayedJob, said: Said) -> bool:
        """Write what the job of this row has said; False if another claim has the row, or it is gone."""
        jobs = Progress.delayed_job.field.related_model._base_manager.using(self.db)
        # Without locks, and not `held`: an atomic job has moved its row before its last progress is written.
        if not jobs.filter(pk=row.pk, lock_token=row.lock_token).exists():
            return False
        columns = {"done": said.done, "total": said.total, "note": said.note, "updated_at": DatabaseNow()}
        if not self.filter(pk=row.pk).update(**columns):
            self.create(pk=row.pk, **columns)
        return True

    def prune(self) -> int:
        """Remove the progress of jobs whose rows are gone. Returns how many."""
        jobs = Progress.delayed_job.field.related_model._base_manager.using(self.db)
        gone = self.filter(~Exists(jobs.filter(pk=OuterRef("pk"))))
        # Read first: in a DELETE, MariaDB would lock the rows of the jobs that it looks at.
        ids = list(gone.values_list("pk", flat=True))
        for some in batches(ids):
            self.filter(pk__in=some).delete()
        return len(ids)


class Progress(models.Model):
    """How far a job is, as it has said last; jobs that say nothing have no row here."""

    # Without a constraint: the row of a job is removed without a look at other tables.
    delayed_job = models.OneToOneField(
        "django_delayed.DelayedJob",
        models.CASCADE,
        primary_key=True,
        # For lists, which join it; the `progress` of a single row is read anew.
        related_name="said",
        db_constraint=False,
    )
    done = models.FloatField()
    total = models.FloatField(null=True)
    note = models.CharField(max_length=NOTE_LIMIT, blank=True, default="")
    updated_at = models.DateTimeField()

    objects = ProgressQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "progress"
        # It is shown with its job.
        default_permissions = ()

    def __str__(self) -> str:
        of = "" if self.total is None else f" of {self.total:,g}"
        return f"{self.done:,g}{of}"

    @property
    def fraction(self) -> float | None:
        """The part that is done, from 0.0 to 1.0; None while it is not known how much there is to do."""
        if self.total is None:
            return None
        return min(self.done / self.total, 1.0) if self.total else 1.0


def all_progress() -> ProgressQuerySet:
    """The progress of all jobs, in the database of the queue."""
    return Progress.objects.using(settings.DATABASE)
