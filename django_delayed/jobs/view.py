"""The view that a job has of its own row."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..models import DelayedJob
    from .job import Job


def row_of(job: Job) -> DelayedJob | None:
    """The row of a job, for the job classes of this package; those of projects have the view."""
    row: DelayedJob | None = job._Job__row  # type: ignore[attr-defined]
    return row


@dataclass(frozen=True, slots=True)
class DelayedJobView:
    """The row as `self.delayed_job` shows it. Not the row: a job that saved it would break its own claim."""

    id: int | None
    name: str
    about: str
    queue: str
    priority: int
    run_at: datetime
    attempts: int
    crashes: int
    max_attempts: int
    last_error: str
    locked_at: datetime | None
    locked_by: str
    created_at: datetime

    @classmethod
    def of(cls, row: DelayedJob) -> DelayedJobView:
        """The view of this row."""
        return cls(*(getattr(row, field.name) for field in fields(cls)))
