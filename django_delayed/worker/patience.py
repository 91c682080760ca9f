"""An error of the database is not an error of the job: try again until it is back."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from typing import TypeVar

from django.db import InterfaceError, InternalError, OperationalError, connections

from ..conf import settings
from .wakeup import Wakeup

T = TypeVar("T")
AWAY = (
    OperationalError,
    InterfaceError,
    InternalError,
)  # the last one: PostgreSQL that is read-only for a while
LONGEST_PAUSE = 5.0  # seconds

logger = logging.getLogger("django_delayed")


def pauses() -> Iterator[float]:
    """Seconds to wait before each new try: 0.1 doubling to 5, scattered so that workers come out of step."""
    pause = 0.1
    while True:
        yield pause * random.uniform(0.75, 1.25)
        pause = min(pause * 2, LONGEST_PAUSE)


def patiently(operation: Callable[[], T], wakeup: Wakeup, give_up: Callable[[], bool]) -> T:
    """The operation's result, however long the database is away.

    Raises its error once `give_up` says so, and inside a caller's transaction, which is lost anyhow.
    """
    waits = pauses()
    while True:
        try:
            return operation()
        except AWAY as error:
            connection = connections[settings.DATABASE]
            if connection.in_atomic_block or give_up():
                raise
            pause = next(waits)
            logger.warning("The database is away, trying again in %.1f s: %s", pause, str(error).strip())
            connection.close()
            wakeup.wait(pause)
