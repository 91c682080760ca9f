"""The table of the cursors of long jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from django.db import models
from django.db.models import F

from ...conf import settings
from .cursors import Cursor

if TYPE_CHECKING:
    from ...models import DelayedJob


class JobCursorQuerySet(models.QuerySet["JobCursor"]):
    """The cursors of long jobs."""

    def of(self, row: DelayedJob) -> dict[str, str]:
        """The cursors of a job as JSON, by their keys."""
        return dict(self.filter(delayed_job=row).values_list("key", "value"))

    def put(self, row: DelayedJob, cursors: Mapping[str, Cursor]) -> None:
        """Write these cursors of a job, which no other process writes meanwhile."""
        for key, cursor in cursors.items():
            if not self.filter(delayed_job=row, key=key).update(value=cursor.value):
                # In ASCII: a name may have characters that the charset of the column refuses.
                name = ascii(cursor.name)[1:-1][:255]
                self.create(delayed_job=row, key=key, name=name, value=cursor.value)

    def have_moved(self, row: DelayedJob) -> bool:
        """Whether a cursor of this job has moved since `mark` was called the last time."""
        values = self.filter(delayed_job=row).values_list("value", "marked")
        # Compared in Python: for MariaDB, "a" equals "A".
        return any(value != marked for value, marked in values)

    def mark(self, row: DelayedJob) -> None:
        """Remember where the cursors of this job are."""
        self.filter(delayed_job=row).update(marked=F("value"))


class JobCursor(models.Model):
    """How far a long job is, in one of its iterations or steps."""

    id = models.BigAutoField(primary_key=True)
    delayed_job = models.ForeignKey(
        "django_delayed.DelayedJob",
        models.CASCADE,
        related_name="cursors",
        db_constraint=False,
        db_index=False,
    )
    # A hash: a step may have any name, and MariaDB takes some different names for equal.
    key = models.CharField(max_length=32, editable=False)
    name = models.CharField(max_length=255)
    value = models.TextField()
    # The value at the last crash of the worker in this job.
    marked = models.TextField(blank=True, default="", editable=False)

    objects = JobCursorQuerySet.as_manager()

    class Meta:
        # No user sees them, and only workers write them.
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["delayed_job", "key"], name="delayed_job_cursor"),
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.value}"


def all_cursors() -> JobCursorQuerySet:
    """All cursors, in the database of the queue."""
    return JobCursor.objects.using(settings.DATABASE)
