"""The jobs of a worker that an operator ends: they are asked first, and killed if they do not end in time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..conf import settings
from ..execution.outcomes import Outcome, Released
from ..execution.stopping import Stop, decide_after_cancel
from ..models import DelayedJob, Verb, WorkerRequest
from ..serialization.errors import printable
from .slot import Current, Slot

logger = logging.getLogger("django_delayed")

Decide = Callable[[DelayedJob], Outcome]


@dataclass
class Asked:
    """A job that was asked to end: by whom, and when on the monotonic clock."""

    by: str
    at: float
    is_overdue: bool = False


class CancelledJobs:
    """The jobs in these slots that were asked to end, for the process that watches their worker."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots = slots
        # By the keys of the jobs.
        self._asked: dict[tuple[int, int], Asked] = {}

    def ask(self, request: WorkerRequest) -> None:
        """Ask the job once to end at its next `should_stop`. One that has not begun is not asked yet."""
        for slot in self._slots:
            current = slot.current()
            meant = current and current.key == (request.delayed_job_id, request.lock_token)
            if current and meant and current.key not in self._asked:
                slot.cancel(current.id)
                self._asked[current.key] = Asked(request.requested_by, time.monotonic())
                by = printable(request.requested_by) or "nobody"
                logger.info("Job %s is asked to end by %s", current.id, by)

    def overdue(self) -> Sequence[Current]:
        """Those that were asked SHUTDOWN_TIMEOUT ago or earlier and have not ended."""
        if not self._asked:
            return []
        before = time.monotonic() - settings.SHUTDOWN_TIMEOUT.total_seconds()
        found = []
        for slot in self._slots:
            current = slot.current()
            # While its outcome is written, it has ended.
            asked = self._asked.get(current.key) if current and current.limit is not None else None
            if current and asked and asked.at < before:
                asked.is_overdue = True
                found.append(current)
        return found

    def decision(self, otherwise: Decide | None) -> Decide | None:
        """How to decide about the jobs of a process that has ended; `otherwise` is for those not asked."""
        if not self._asked:
            return otherwise

        def decide(row: DelayedJob) -> Outcome:
            if asked := self._asked.get((row.pk, row.lock_token)):
                return _decide(row, asked)
            return otherwise(row) if otherwise else Released()

        return decide


def _decide(row: DelayedJob, asked: Asked) -> Outcome:
    how = ""
    if asked.is_overdue:
        how = f", and killed as it did not stop within {settings.SHUTDOWN_TIMEOUT.total_seconds():g} s"
    return decide_after_cancel(row, asked.by, how=how)


def stop_for(row: DelayedJob, slot: Slot, is_worker_stopping: Callable[[], bool]) -> Stop:
    """What tells the job of this row, in this slot, that it is to end early."""
    return Stop(
        is_worker_stopping=is_worker_stopping,
        is_cancelled=lambda: slot.is_cancelled(row.pk),
        by=lambda: cancelled_by(row),
    )


def cancelled_by(row: DelayedJob) -> str:
    """The name of the operator who ends the job of this row; "" if it is not known."""
    requests = WorkerRequest.objects.using(settings.DATABASE).filter(
        worker=row.locked_by, verb=Verb.CANCEL, delayed_job_id=row.pk, lock_token=row.lock_token
    )
    return requests.order_by("pk").values_list("requested_by", flat=True).first() or ""
