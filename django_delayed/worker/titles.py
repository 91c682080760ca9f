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
    # It is an extra; then nothing below asks for anything.
    setproctitle = None  # type: ignore[assignment]

LONGEST = 200  # characters

_show: Callable[[str], object] | None = None
_at_rest = "idle"


def show(what: str) -> None:
    """Say what this process does, if it is one that says so."""
    if _show:
        _show(f"jobs_work: {printable(what)[:LONGEST]}")


def show_job(verb: str, row: DelayedJob) -> None:
    """Say what this process does with the job of this row, and since when."""
    if _show:
        show(f"{verb} {row.name} since {time.strftime('%H:%M')} ({row.queue})")


@contextmanager
def supervisor_titled(workers: int) -> Iterator[None]:
    """A block of a supervisor of so many workers. It may be another program that has called the command."""
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
    """From now on, the title of this process, a worker, says what it does; and of what it forks for a job."""
    global _show, _at_rest
    if not setproctitle:
        return
    _show = setproctitle.setproctitle
    if threads > 1:
        # What one of them does says nothing about the others.
        _at_rest = f"performing in {threads} threads"
    else:
        job_started.connect(_show_performing)
        queue_empty.connect(show_rest)
    show_rest()


def show_rest(**_: Any) -> None:
    """Say that this process performs nothing now; or, if it has threads, that it does what they do."""
    show(_at_rest)


def _show_performing(delayed_job: DelayedJob, **_: Any) -> None:
    show_job("performing", delayed_job)
