"""The attempts of one job in order: how long each waited and ran, how it ended, and where."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.utils import timezone
from django.utils.translation import gettext as _

from ..models import ATTEMPTS_KEPT, DelayedJob, FailedAttempt, WorkerProcess
from ..states import State
from .display import chip, exact, preformatted, span_text

WAITING = (State.SCHEDULED, State.ENQUEUED, State.RETRYING)


class AttemptLine(NamedTuple):
    """An attempt as the page shows it; `error` says how it ended, and `text` is that error in full."""

    number: int
    waited: str
    started: str | None
    ran: str
    error: str
    text: str | None = None
    worker: str = ""


def attempt_lines(row: DelayedJob) -> list[AttemptLine]:
    """The failed attempts of this job, the oldest first; then the one that runs, passed, or comes next."""
    attempts = list(FailedAttempt.objects.using(row._state.db).filter(delayed_job=row).order_by("pk"))
    names = worker_names(row, {row.locked_by, *(attempt.worker for attempt in attempts)})
    before = _beginning(row, attempts)
    lines = []
    for attempt in attempts:
        lines.append(_failed(attempt, before, names))
        before = attempt.ended_at
    return [*lines, *_present(row, before, names)]


def worker_names(row: DelayedJob, ids: Collection[str]) -> dict[str, str]:
    """Host and process by id, of the workers with these ids that still have a row."""
    workers = WorkerProcess.objects.using(row._state.db).in_bulk([pk for pk in ids if pk])
    return {pk: str(process) for pk, process in workers.items()}


def _beginning(row: DelayedJob, attempts: Sequence[FailedAttempt]) -> datetime | None:
    """Since when the first of these attempts waited; None if earlier ones may have been deleted."""
    is_whole = not attempts or (attempts[0].number == 1 and len(attempts) < ATTEMPTS_KEPT)
    return row.created_at if is_whole else None


def _failed(attempt: FailedAttempt, before: datetime | None, names: dict[str, str]) -> AttemptLine:
    started = attempt.started_at
    return AttemptLine(
        attempt.number,
        _span(before, started),
        exact(started),
        _span(started, attempt.ended_at),
        str(attempt),
        preformatted(attempt.error) if attempt.error else None,
        # If the worker's row is gone: the host, and the id by which the log names the worker.
        names.get(attempt.worker) or f"{attempt.hostname} {attempt.worker}".lstrip(),
    )


def _present(row: DelayedJob, before: datetime | None, names: dict[str, str]) -> Iterator[AttemptLine]:
    """The attempt that runs, passed, or comes next; none for a failed job: all its attempts are recorded."""
    state: Any = row.state
    started, now = row.started_at or row.locked_at, timezone.now()
    if state == State.RUNNING:
        worker = names.get(row.locked_by, row.locked_by)
        yield AttemptLine(
            row.attempts,
            _span(before, started),
            exact(started),
            _so_far(started, now),
            chip(state),
            worker=worker,
        )
    elif state == State.FINISHED:
        ran = _span(started, row.finished_at)
        yield AttemptLine(row.attempts, _span(before, started), exact(started), ran, chip(state))
    elif state in WAITING:
        yield AttemptLine(row.attempts + 1, _so_far(before, now), None, "", chip(state))


def _span(start: datetime | None, end: datetime | None) -> str:
    """The time between the two; "" if one is not known."""
    if start is None or end is None:
        return ""
    # The two may come from the clocks of different machines, and the end may be before the start.
    return span_text(max((end - start).total_seconds(), 0))


def _so_far(start: datetime | None, now: datetime) -> str:
    return _("%(time)s so far") % {"time": _span(start, now)} if start else ""
