"""What the processes of `jobs_work` do, as their titles in ps and top, where setproctitle is installed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..serialization.errors import printable
from ..signals import job_started, queue_empty

if TYPE_CHECKING:
    from ..models import DelayedJob

try:
    import setproctitle
except ImportError:
    # It is an optional dependency. Without it, nothing below does anything.
    setproctitle = None  # type: ignore[assignment]

LONGEST = 200  # characters

_show: Callable[[str], object] | None = None
_at_rest = "idle"


def show(what: str) -> None:
    """Show what this process does, if it is one that shows it."""
    if _show:
        _show(f"jobs_work: {printable(what)[:LONGEST]}")


def show_job(verb: str, row: DelayedJob) -> None:
    """Show what this process does with the job of this row, and since when."""
    if _show:
        show(f"{verb} {row.name} since {time.strftime('%H:%M')} ({row.queue})")


@contextmanager
def supervisor_titled(workers: int) -> Iterator[None]:
    """A block in which the title is that of a supervisor. Another program may have called the command."""
    if not setproctitle:
        yield
        return
    before = setproctitle.getproctitle()
    setproctitle.setproctitle(f"jobs_work: supervisor of {workers} worker{'' if workers == 1 else 's'}")
    try:
        yield
    finally:
        setproctitle.setproctitle(before)


def title_worker(threads: int) -> None:
    """Let the title of this worker show what it does, and those of the processes that it forks for jobs."""
    global _show, _at_rest
    if not setproctitle:
        return
    _show = setproctitle.setproctitle
    if threads > 1:
        # The job of one thread says nothing about the others.
        _at_rest = f"performing in {threads} threads"
    else:
        job_started.connect(_show_performing)
        queue_empty.connect(show_rest)
    show_rest()


def show_rest(**_: Any) -> None:
    """Show that this process performs nothing now; or, if it has threads, that it performs in them."""
    show(_at_rest)


def _show_performing(delayed_job: DelayedJob, **_: Any) -> None:
    show_job("performing", delayed_job)
