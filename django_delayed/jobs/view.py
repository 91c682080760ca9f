"""What a job may know of its own row."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..models import DelayedJob


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
    locked_at: datetime | None
    locked_by: str
    created_at: datetime
    _row: DelayedJob = field(repr=False, compare=False)

    @property
    def last_error(self) -> str:
        """The text of the last error, "" without one; read from the database when it is asked for."""
        return self._row.last_error

    @classmethod
    def of(cls, row: DelayedJob) -> DelayedJobView:
        """The view of this row."""
        values = {f.name: getattr(row, f.name) for f in fields(cls) if f.name != "_row"}
        return cls(**values, _row=row)
