"""Reports: jobs that are enqueued while a failure is reported. Their own failure enqueues nothing.

A log handler that sends mail, a receiver of a signal or a hook of a job enqueues something when a job fails.
If that fails too, the same handler would enqueue the next, and so on for ever. So such a row has a mark, and
what its job enqueues inherits it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .models import DelayedJob

logger = logging.getLogger("django_delayed")

MARK = 1  # a bit of DelayedJob.extras


@dataclass(frozen=True)
class _Report:
    """The failure of `row` is being reported (None: that of a process), or its job is a report that runs."""

    row: DelayedJob | None
    may_enqueue: bool


_current: ContextVar[_Report | None] = ContextVar("django_delayed_report", default=None)
_plain = nullcontext()
_last_refused: tuple[int | None, int] | None = None  # id and attempt


def reporting(row: DelayedJob | None = None) -> AbstractContextManager[None]:
    """The block in which the failure of the row's job is reported; without a row, what a process notices.

    Jobs that are enqueued in it are marked. They are refused if the row is marked itself, or there is none:
    a process that has trouble for hours would enqueue jobs for hours.
    """
    return _block(_Report(row, may_enqueue=row is not None and not row.extras & MARK))


def performing(row: DelayedJob) -> AbstractContextManager[None]:
    """The block in which the row's job is performed: what a report enqueues is marked."""
    return _block(_Report(row, may_enqueue=True)) if row.extras & MARK else _plain


def mark() -> int:
    """The mark of a row that is enqueued now; 0 for a plain job."""
    return 0 if _current.get() is None else MARK


def is_refused() -> bool:
    """Whether nothing may be enqueued now; the log says so once for each failure."""
    global _last_refused
    report = _current.get()
    if report is None or report.may_enqueue:
        return False
    row = report.row
    about = (row.pk, row.attempts) if row else (None, 0)
    if about != _last_refused:
        # Set before the line is logged, as the line may reach the same handler.
        _last_refused = about
        what = f"The failure of {row}, which reports one itself," if row else "What a process notices"
        # Not at ERROR: handlers that send mail are usually there for errors.
        logger.warning(
            "%s is reported in the log only; the jobs that were to report it are not enqueued", what
        )
    return True


@contextmanager
def _block(report: _Report) -> Iterator[None]:
    token = _current.set(report)
    try:
        yield
    finally:
        _current.reset(token)
