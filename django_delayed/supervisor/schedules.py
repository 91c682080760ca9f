"""The thread of a supervisor that makes the jobs of schedules."""

from __future__ import annotations

import time
from collections.abc import Mapping

from ..conf import settings
from ..features.recurring.definitions import Definition
from ..features.recurring.models import all_schedules
from ..features.recurring.ticker import Ticker
from ..worker.availability import PeriodicTask
from .database_thread import DatabaseThread


class ScheduleTask(PeriodicTask):
    """Makes the jobs of schedules when they are due."""

    def __init__(self, ticker: Ticker) -> None:
        super().__init__(ticker.run, settings.LEASE)
        self._ticker = ticker

    def run_if_due(self) -> bool:
        succeeded = super().run_if_due()
        if succeeded and self._ticker.due_in is not None:
            self._due = min(self._due, time.monotonic() + self._ticker.due_in)
        return succeeded


class ScheduleThread(DatabaseThread):
    """Makes the jobs of schedules, if there are any, on a connection of its own.

    The hooks of a project's jobs run in it, and may take long: no heartbeat waits for them.
    """

    def __init__(self, definitions: Mapping[str, Definition]) -> None:
        super().__init__([ScheduleTask(Ticker(definitions))], "django_delayed schedules")
        self._is_needed = bool(definitions)

    def start_if_needed(self) -> None:
        """Start it if the code has schedules, or an operator has made one. One statement, or none."""
        if self.ident is None and (self._is_needed or all_schedules().exists()):
            self.start()

    def end(self, timeout: float) -> None:
        """As for every such thread, but one that was not needed has not been started."""
        if self.ident is not None:
            super().end(timeout)
