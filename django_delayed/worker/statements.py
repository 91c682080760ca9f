"""The statements of a worker: its supervisor sees how long each takes, and they are repeated until a stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django.db import Error

from .availability import UNAVAILABLE, is_permanent, repeat_while_unavailable
from .shutdown import Shutdown
from .slot import Slot
from .wakeup import Wakeup

T = TypeVar("T")


class Statements:
    """Runs the statements of one thread of a worker."""

    def __init__(self, slot: Slot, wakeup: Wakeup, shutdown: Shutdown) -> None:
        self._slot = slot
        self._wakeup = wakeup
        self._shutdown = shutdown

    def ask(self, statement: Callable[[], T]) -> T:
        """The result of a statement of the worker or of receivers; the supervisor sees how long it takes."""
        self._slot.begin_statement()
        try:
            return statement()
        finally:
            self._slot.end_statement()

    def until_stopped(self, operation: Callable[[], T]) -> T | None:
        """The operation's result; None if a stop is requested while the database is unavailable."""
        try:
            return repeat_while_unavailable(operation, self._wakeup, self.gives_up)
        except UNAVAILABLE:
            if not self._shutdown.requested:
                raise
            return None

    def gives_up(self, error: Error) -> bool:
        """Whether to give up after this error: a stop is requested, or the error is permanent."""
        return self._shutdown.requested or is_permanent(error)
