"""Settle outcomes: make the moves that belong to them, then announce them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

from django.db import DatabaseError, connections, transaction

from ..conf import settings
from ..databases import database
from ..jobs import Job
from ..jobs.results import RESULT, result_settled
from ..models import DelayedJob, all_attempts, all_cursors, all_rows
from ..serialization.errors import ErrorText, clear_frames
from ..signals import (
    fields_of,
    have_receivers,
    job_cancelled,
    job_discarded,
    job_errored,
    job_failed,
    job_snoozed,
    tell_finished,
)
from ..states import DelayedJobQuerySet
from .outcomes import (
    Cancelled,
    Crashed,
    Discarded,
    EndedByError,
    Failed,
    Finished,
    Interrupted,
    Outcome,
    Released,
    Rescheduled,
    Snoozed,
    Suspected,
    is_given_up,
    report_of,
)
from .session import Session

logger = logging.getLogger("django_delayed")

Performed = tuple[DelayedJob, Outcome]


def settle(performed: Sequence[Performed]) -> list[DelayedJob]:
    """Write the outcomes, then announce them. Returns the rows that have lost their claim."""
    lost = write_outcomes(performed)
    announce([(row, outcome) for row, outcome in performed if row not in lost])
    return lost


def write_outcomes(performed: Sequence[Performed]) -> list[DelayedJob]:
    """Make the moves of these outcomes: all of them or, after an error of the database, none.

    Returns the rows that have lost their claim; these stay as they are. Raises the error of an unavailable
    database: call it again then.
    """
    if len(performed) == 1:
        lost = _move_all(performed)
    else:
        lost = database(connections[settings.DATABASE]).repeat_on_conflict(lambda: _move_together(performed))
    _warn_of(lost)
    return lost


def is_plain(row: DelayedJob, outcome: Outcome) -> bool:
    """Whether the row is only removed, or kept with at most a result: then others can be moved with it."""
    if not isinstance(outcome, Finished) or outcome.is_moved:
        return False
    if row.keep_for is None:
        return not row.extras and not row.last_error
    return not row.extras & ~RESULT


def settle_together(performed: Sequence[Performed], may_be_done: Callable[[], bool]) -> list[DelayedJob]:
    """Make the moves of plain outcomes of one claim, with one statement for all that are kept equally long.

    Returns the rows that have lost their claim. `may_be_done` says afterwards whether an earlier try, or
    another process, may have moved some. Raises the error of an unavailable database: call it again then.
    """
    rows, moved = all_rows(), set[int]()
    by_kind: dict[tuple[timedelta | None, int], list[DelayedJob]] = {}
    for row, _ in performed:
        by_kind.setdefault((row.keep_for, row.extras), []).append(row)
    for (keep_for, _), alike in by_kind.items():
        if keep_for is None:
            one = alike[0]
            moved |= rows.finish_together(one.locked_by, one.lock_token, [row.pk for row in alike])
        else:
            moved |= rows.keep_together(alike)
    if len(moved) == len(performed):
        return []
    # Since the claim, something may have been written that has to be removed with a row.
    lost = [row for row, _ in performed if row.pk not in moved and not rows.finish(row)]
    if lost and may_be_done():
        left = set(rows.running().filter(pk__in=[row.pk for row in lost]).values_list("pk", flat=True))
        lost = [row for row in lost if row.pk in left]
    _warn_of(lost)
    return lost


def _warn_of(lost: Sequence[DelayedJob]) -> None:
    for row in lost:
        logger.warning("%s lost its claim; its outcome is dropped", row, extra=fields_of(row))


def announce(performed: Sequence[Performed], session: Session | None = None) -> None:
    """Send the signals of outcomes that are written and committed. The receivers run in the session.

    Without one, they have a session of their own.
    """
    wanted = have_receivers() or any(row.extras & RESULT for row, _ in performed)
    with (session or Session(keeps=False)) if wanted else nullcontext():
        for row, outcome in performed:
            send_signals(row, outcome)
            if isinstance(outcome, EndedByError):
                clear_frames(outcome.exception)


def send_signals(row: DelayedJob, outcome: Outcome) -> None:
    """Send the signals of one outcome. Its error keeps the frames in which it was raised."""
    with report_of(row, outcome):
        match outcome:
            case Finished(job=job, duration=duration):
                tell_finished(row, job, duration)
                if row.extras & RESULT:
                    result_settled.send_robust(sender=type(job), delayed_job=row, exception=None)
            case Snoozed(job=job, wait=wait, duration=duration):
                what = {"delayed_job": row, "job": job, "duration": duration, "wait": wait}
                job_snoozed.send_robust(sender=Job if job is None else type(job), **what)
            case Interrupted(why=how_it_died):
                line = "%s: %s, after the job had made progress; it continues from its cursor"
                logger.warning(line, row, how_it_died, extra=fields_of(row))
            case Suspected():
                why = "its worker's process died in it or in another job; it runs alone next"
                logger.warning("%s: %s", row, why, extra=fields_of(row))
            case EndedByError():
                _send_signals_of_error(row, outcome)
                if row.extras & RESULT and (isinstance(outcome, Discarded) or is_given_up(outcome)):
                    how = {"delayed_job": row, "exception": outcome.exception}
                    result_settled.send_robust(sender=outcome.job_class, **how)


def _send_signals_of_error(row: DelayedJob, outcome: EndedByError) -> None:
    what: dict[str, Any] = {
        "sender": outcome.job_class,
        "delayed_job": row,
        "job": outcome.job,
        "error": outcome.error,
        "exception": outcome.exception,
        "duration": outcome.duration,
    }
    if isinstance(outcome, Discarded | Cancelled):
        signal = job_cancelled if isinstance(outcome, Cancelled) else job_discarded
        signal.send_robust(**what)
        return
    what["given_up"] = is_given_up(outcome)
    job_errored.send_robust(**what)
    if what["given_up"]:
        job_failed.send_robust(**what)


def _move_together(performed: Sequence[Performed]) -> list[DelayedJob]:
    with transaction.atomic(using=settings.DATABASE):
        return _move_all(performed)


def _move_all(performed: Sequence[Performed]) -> list[DelayedJob]:
    rows = all_rows()
    return [row for row, outcome in performed if not _make_move(rows, row, outcome)]


def _make_move(rows: DelayedJobQuerySet, row: DelayedJob, outcome: Outcome) -> bool:
    if is_given_up(outcome) and settings.DESTROY_FAILED_JOBS:
        return rows.discard_held(row)
    match outcome:
        case Finished(is_moved=is_moved):
            return is_moved or rows.finish(row)
        case Snoozed(wait=wait):
            return rows.snooze(row, wait)
        case Rescheduled(wait=wait, history=history):
            also = [lambda: all_attempts().remember(row, history)] if history else []
            return _with_text(outcome.error, lambda error: rows.reschedule(row, error, wait, also))
        case Failed():
            return _with_text(outcome.error, lambda error: rows.fail(row, error))
        case Cancelled():
            return _with_text(outcome.error, lambda error: rows.cancel_held(row, error))
        case Discarded():
            return rows.discard_held(row)
        case Crashed(wait=wait_or_none):
            return _with_text(outcome.error, lambda error: rows.crash(row, error, wait_or_none))
        case Interrupted():
            return rows.interrupt(row, [lambda: all_cursors().mark(row)])
        case Released():
            return bool(rows.release([row]))
        case Suspected():
            return rows.suspect(row)


def _with_text(error: ErrorText, move: Callable[[ErrorText], bool]) -> bool:
    """Move with the error's text; with a plainer one if the database refuses it for its charset or size."""
    # Twice as it is: after the first error, Django may have replaced a connection that was lost.
    for text in (error, error, error.in_ascii()):
        try:
            return move(text)
        except DatabaseError as refusal:
            if not _may_be_the_text(refusal):
                raise
    return move(error.withheld())


def _may_be_the_text(refusal: DatabaseError) -> bool:
    """Whether the database may have refused the text: there was no conflict, and the connection is usable."""
    connection = connections[settings.DATABASE]
    if database(connection).is_conflict(refusal) or connection.needs_rollback:
        return False
    # Without its connection, Django's is_usable() raises an AttributeError.
    return connection.connection is not None and connection.is_usable()
