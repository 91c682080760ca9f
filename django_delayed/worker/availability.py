"""An unavailable database is not an error of a job: statements are repeated until it is back."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

from django.db import InterfaceError, InternalError, OperationalError, connections

from ..conf import settings
from ..databases import in_callers_transaction
from .wakeup import Wakeup

T = TypeVar("T")

# InternalError: PostgreSQL is read-only for a while.
UNAVAILABLE = (OperationalError, InterfaceError, InternalError)
LONGEST_PAUSE = 5.0  # seconds

logger = logging.getLogger("django_delayed")


def backoff() -> Iterator[float]:
    """Seconds to wait before each new try: 0.1, doubling to 5, with jitter against synchronous workers."""
    pause = 0.1
    while True:
        yield pause * random.uniform(0.75, 1.25)
        pause = min(pause * 2, LONGEST_PAUSE)


def repeat_while_unavailable(operation: Callable[[], T], wakeup: Wakeup, give_up: Callable[[], bool]) -> T:
    """The operation's result, however long the database is unavailable.

    Raises its error when `give_up` returns True, and in a caller's transaction.
    """
    pauses = backoff()
    while True:
        try:
            return operation()
        except UNAVAILABLE as error:
            if in_callers_transaction(connections[settings.DATABASE]) or give_up():
                raise
            pause = next(pauses)
            _disconnect(error, pause)
            wakeup.wait(pause)


class PeriodicTask:
    """A function that `run_if_due` calls every so often, the first time at once.

    The interval is shortened by up to a fifth at random, so that many hosts do not synchronise.
    """

    def __init__(self, function: Callable[[], object], every: timedelta) -> None:
        self.function = function
        self.every = every.total_seconds()
        self._due = 0.0
        self._pauses = backoff()

    def run_if_due(self) -> bool:
        """Call the function if it is due; returns whether it succeeded. Logs an unavailable database."""
        if time.monotonic() < self._due:
            return False
        try:
            self.function()
        except UNAVAILABLE as error:
            # When the database is down, every task fails at once. Never repeat one sooner than its interval.
            pause = max(next(self._pauses), min(self.every, LONGEST_PAUSE))
            self._due = time.monotonic() + pause
            _disconnect(error, pause)
            return False
        self._due = time.monotonic() + self.every * random.uniform(0.8, 1.0)
        self._pauses = backoff()
        return True


def _disconnect(error: Exception, pause: float) -> None:
    logger.warning("The database is unavailable, trying again in %.1f s: %s", pause, str(error).strip())
    connections[settings.DATABASE].close()
