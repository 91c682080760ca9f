"""What is done from time to time, and put off while the database is away."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from datetime import timedelta

from django.db import connections

from ..conf import settings
from .patience import AWAY, LONGEST_PAUSE, pauses

logger = logging.getLogger("django_delayed")


class Chore:
    """A function that is called every so often by whoever calls `run_when_due`, first at once.

    Scattered by a fifth, so that many hosts do not come in step.
    """

    def __init__(self, what: Callable[[], object], every: timedelta) -> None:
        self.what = what
        self.every = every.total_seconds()
        self._due = 0.0
        self._waits = pauses()

    def run_when_due(self) -> bool:
        """Run it if its time has come; returns whether it was done."""
        if time.monotonic() < self._due:
            return False
        try:
            self.what()
        except AWAY as error:
            # Several chores of one process fail together: none comes sooner than it would have come anyhow.
            pause = max(next(self._waits), min(self.every, LONGEST_PAUSE))
            self._due = time.monotonic() + pause
            logger.warning("The database is away, trying again in %.1f s: %s", pause, str(error).strip())
            connections[settings.DATABASE].close()
            return False
        self._due = time.monotonic() + self.every * random.uniform(0.8, 1.0)
        self._waits = pauses()
        return True
