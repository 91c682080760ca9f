"""What a job may ask of the code that performs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ..databases.event_loops import running_loop

if TYPE_CHECKING:
    from ..features.iteration.cursors import Cursors
    from ..features.progress.said import Said
    from .job import Job


class Attempt(Protocol):
    """One attempt of a job, by a worker."""

    def should_stop(self) -> bool:
        """Whether the job is to end early."""

    def begin_long(self, should_stop: Callable[[], bool]) -> Cursors:
        """The cursors of earlier attempts, for a job that iterates or has steps. It is called once.

        `should_stop` is the job's method.
        """

    def report(self, said: Said) -> None:
        """Note how far the job is. Any of its threads may call this."""


def check_long(job: Job, function: str) -> None:
    """Raise RuntimeError where a job cannot iterate or have steps. `function` is what it has called."""
    if job.atomic:
        raise RuntimeError(
            f"{job.name} has atomic = True: it is one transaction, and cannot go on from the middle. To"
            f" use {function}(), leave atomic out; iterate(…, chunk=…) has a transaction for each chunk."
        )
    if running_loop():
        raise RuntimeError(
            f"{job.name}: {function}() makes queries, which Django refuses in async code: call it in a"
            " function that sync_to_async() calls."
        )
