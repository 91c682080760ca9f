"""What a job may ask of who performs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..features.iteration.cursors import Cursors
    from ..features.progress.said import Said


class Attempt(Protocol):
    """One attempt of a job, by a worker."""

    def should_stop(self) -> bool:
        """Whether the job is to end early."""

    def begin_long(self, should_stop: Callable[[], bool]) -> Cursors:
        """The cursors of earlier attempts, for a job that iterates or has steps; to be called once.

        `should_stop` is that of the job.
        """

    def report(self, said: Said) -> None:
        """The job says how far it is; from any of its threads."""
