"""The result of a job, which its row keeps: JSON in the column `result`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.dispatch import Signal

from ..conf import bounded_duration, settings
from ..exceptions import SerializationError
from ..serialization.results import Kept, normalized
from .view import row_of

if TYPE_CHECKING:
    from .job import Job

RESULT = 2  # a bit of DelayedJob.extras, next to that of a report: a task

# A job with the bit RESULT has ended for good, and its row says so. Sent with delayed_job and exception, None
# for a job that finished.
result_settled = Signal()


def time_for(job_class: type[Job]) -> timedelta:
    """How long the row of a Job that has `keep_for` or `result` is kept. Raises TypeError or ValueError."""
    if job_class.keep_for is not None:
        return bounded_duration(job_class.keep_for, "keep_for")
    return time_for_results()


def time_for_results() -> timedelta:
    """How long results are kept without another setting."""
    return max(settings.RESULT_TTL, settings.KEEP_FINISHED_FOR or timedelta(0))


def keep_result(job: Job, returned: Any) -> Any:
    """Set what the job has returned on its row, for the move to write. Returns that as JSON has it.

    Raises TypeError or ValueError for what JSON cannot hold, SerializationError for what is too large.
    """
    value, row = normalized(returned), row_of(job)
    text = Kept(value, row.locked_by if row else "").dump()
    if len(text) > (limit := settings.MAX_ARGUMENTS_SIZE):
        # A database may refuse it for its size, each time the worker tries to write it.
        raise SerializationError(
            f"{job.name}: it returned {len(text):,} bytes of at most {limit:,}"
            " (DJANGO_DELAYED['MAX_ARGUMENTS_SIZE']). Store the data, and return a key to find it by."
        )
    if row is not None:
        row.result = text
    return value
