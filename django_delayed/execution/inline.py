"""Perform a job where it is enqueued, as the setting DELAY_JOBS says: by a worker's rules, without a row."""

from __future__ import annotations

import logging
from copy import copy
from datetime import timedelta

from django.core.exceptions import SynchronousOnlyOperation
from django.utils import timezone

from ..conf import settings
from ..databases import DatabaseNow
from ..databases.event_loops import running_loop
from ..jobs import DelayedJobView, Job
from ..models import DelayedJob
from ..options import evaluate
from .outcomes import Discarded, EndedByError
from .perform import attempt
from .session import Session
from .settle import send_signals

logger = logging.getLogger("django_delayed")

_has_said_what_is_ignored = False


def is_delayed(row: DelayedJob) -> bool:
    """Whether DELAY_JOBS leaves the job of this unsaved row to a worker.

    A function is called with a view of what the row would hold. Raises TypeError when it returns no boolean.
    """
    chosen = settings.DELAY_JOBS
    answer = evaluate(chosen, _view_of(row)) if callable(chosen) else chosen
    if not isinstance(answer, bool):
        raise TypeError(f"The function DELAY_JOBS must return True or False, not {answer!r}.")
    return answer


def perform_inline(job: Job, row: DelayedJob) -> None:
    """Perform the job at once, in one attempt, on the connections of the caller. Writes nothing.

    Its arguments are read from the row. Raises its error, unless its `discard_on` names that.
    """
    if running_loop():
        # As the INSERT would, but before the job does anything.
        raise SynchronousOnlyOperation("A job is performed inline, and an event loop runs.")
    _say_what_is_ignored()
    row.run_at = row.created_at = timezone.now()
    # The caller has to make the next attempt.
    row.attempts = row.max_attempts = 1
    job.enqueued(row)
    job.finish_enqueue()
    with Session(inline=True) as session:
        outcome = attempt(row, session)
        send_signals(row, outcome)
    if isinstance(outcome, EndedByError) and not isinstance(outcome, Discarded):
        raise outcome.exception
    row.finished_at = timezone.now()


def _view_of(row: DelayedJob) -> DelayedJobView:
    """The view of an unsaved row, with times by the clock of this machine."""
    now = timezone.now()
    shown = copy(row)
    shown.created_at = now
    if isinstance(row.run_at, DatabaseNow):
        wait: timedelta = row.run_at.plus
        shown.run_at = now + wait
    return DelayedJobView.of(shown)


def _say_what_is_ignored() -> None:
    global _has_said_what_is_ignored
    if not _has_said_what_is_ignored:
        _has_said_what_is_ignored = True
        logger.info(
            "DELAY_JOBS performs jobs where they are enqueued: at once, in one attempt, and in the caller's"
            " transaction. Their run_at, wait, queue, priority and max_attempts are ignored, and so are"
            " ENQUEUE and KEEP_FINISHED_FOR."
        )
