"""What tells a job that it is to end early, and the outcome of a job that an operator ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..exceptions import JobCancelled
from ..jobs import Job
from ..serialization.errors import begin_at_application, describe
from ..states import CANCELLED
from .outcomes import Cancelled

if TYPE_CHECKING:
    from ..models import DelayedJob


class Stop:
    """Whether one job is to end early: its worker is being stopped, or an operator ends the job.

    `by` returns the name of that operator; it may be a statement of the queue.
    """

    def __init__(
        self,
        is_worker_stopping: Callable[[], bool] = lambda: False,
        is_cancelled: Callable[[], bool] = lambda: False,
        by: Callable[[], str] = lambda: "",
    ) -> None:
        self._is_worker_stopping = is_worker_stopping
        self._is_cancelled = is_cancelled
        self.by = by
        # Whether the job was told that an operator ends it.
        self._was_told = False

    def should_stop(self) -> bool:
        """The answer to a job that asks."""
        self._was_told = self.is_cancelled()
        return self._was_told or self._is_worker_stopping()

    def is_cancelled(self) -> bool:
        """Whether an operator ends the job."""
        return self._was_told or self._is_cancelled()

    def perform(self, job: Job) -> None:
        """Perform the job. Raises JobCancelled when it has ended because it was told to."""
        job.run()
        if self._was_told:
            raise JobCancelled


NEVER = Stop()


def decide_after_cancel(
    row: DelayedJob,
    by: str,
    *,
    error: BaseException | None = None,
    job: Job | None = None,
    job_class: type[Job] = Job,
    duration: float | None = None,
    how: str = "",
) -> Cancelled:
    """The outcome of an attempt that an operator of this name has ended.

    `error` is the error that it has ended with, and `how` adds how it ended.
    """
    cancelled = JobCancelled(f"Ended by {by or 'an operator'}{how}.")
    cancelled.__cause__ = error
    begin_at_application(cancelled)
    # Cancelled jobs have no cause in common.
    text = replace(describe(cancelled, row.name), fingerprint=CANCELLED)
    return Cancelled(job, text, exception=cancelled, job_class=job_class, duration=duration)
