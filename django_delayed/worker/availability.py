"""An unavailable database is not an error of a job: statements are repeated until it is back.

So are statements that a database refuses until somebody repairs it, if giving up would lose an outcome.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

from django.db import (
    DEFAULT_DB_ALIAS,
    Error,
    InterfaceError,
    InternalError,
    OperationalError,
    connections,
)

from ..conf import settings
from ..databases import database, in_callers_transaction
from ..reports import reporting
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


def is_permanent(error: Error) -> bool:
    """Whether the statement will fail until somebody repairs something, such as a missing column."""
    return database(connections[settings.DATABASE]).is_permanent(error)


def migrate_command() -> str:
    """The command that makes the tables of the queue."""
    alias = settings.DATABASE
    return "manage.py migrate" + ("" if alias == DEFAULT_DB_ALIAS else f" --database {alias}")


def repeat_while_unavailable(
    operation: Callable[[], T], wakeup: Wakeup, give_up: Callable[[Error], bool]
) -> T:
    """The operation's result, however long the database is unavailable or refuses the statement.

    Raises its error when `give_up` returns True for it, and in a caller's transaction.
    """
    pauses = backoff()
    while True:
        try:
            return operation()
        except Error as error:
            if in_callers_transaction(connections[settings.DATABASE]) or give_up(error):
                raise
            pause = next(pauses)
            _report(error, pause)
            wakeup.wait(pause)


class PeriodicTask:
    """A function that `run_if_due` calls at an interval, the first time at once.

    The interval is shortened by up to a fifth at random, so that many hosts do not synchronise.
    """

    def __init__(self, function: Callable[[], object], every: timedelta) -> None:
        self.function = function
        self.every = every.total_seconds()
        self._due = 0.0
        self._pauses = backoff()

    @property
    def due_in(self) -> float:
        """Seconds until the function is due; 0 if it is."""
        return max(self._due - time.monotonic(), 0.0)

    def run_if_due(self) -> bool:
        """Call the function if it is due. Returns whether it succeeded.

        Logs an unavailable database, and one that refuses a statement.
        """
        if time.monotonic() < self._due:
            return False
        try:
            self.function()
        except Error as error:
            # When the database is down, every task fails at once. Wait for the interval, up to LONGEST_PAUSE.
            pause = max(next(self._pauses), min(self.every, LONGEST_PAUSE))
            self._due = time.monotonic() + pause
            _report(error, pause)
            return False
        self._due = time.monotonic() + self.every * random.uniform(0.8, 1.0)
        self._pauses = backoff()
        return True


def _report(error: Error, pause: float) -> None:
    """Log why a statement is repeated, and close the connection. Raises an error of another kind."""
    text = str(error).strip()
    with reporting():
        if is_permanent(error):
            logger.error(
                "The database refuses a statement until somebody repairs it (has `%s` run?),"
                " trying again in %.1f s: %s",
                migrate_command(),
                pause,
                text,
            )
        elif isinstance(error, UNAVAILABLE):
            logger.warning("The database is unavailable, trying again in %.1f s: %s", pause, text)
        else:
            raise error
    connections[settings.DATABASE].close()
