"""The supervisor: starts, watches, sends heartbeats for and stops its workers; performs nothing.

Its main thread owns processes, signals and deadlines, and runs no SQL. A second thread runs all of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from ..reports import reporting
from ..worker.activity import GRACE
from ..worker.availability import PeriodicTask
from ..worker.configuration import Configuration
from ..worker.heartbeat import TICK, heartbeat_interval
from ..worker.shutdown import Shutdown
from ..worker.wakeup import Wakeup
from .database_thread import DatabaseThread
from .maintenance import DeadWorkerCheck, remove_expired
from .manager import WorkerManager
from .stacks import stacks_dumped_on_quit

logger = logging.getLogger("django_delayed")

PRUNE_EVERY = timedelta(minutes=5)


class Supervisor:
    """Runs a worker in a process of its own until SIGTERM or SIGINT; a second signal ends it at once.

    `check` runs before any other statement; what it raises is raised by `run`.
    """

    def __init__(self, configuration: Configuration, check: Callable[[], object]) -> None:
        dead_workers = PeriodicTask(DeadWorkerCheck().run, heartbeat_interval())
        self.database = DatabaseThread([dead_workers, PeriodicTask(remove_expired, PRUNE_EVERY)])
        self.database.request(check)
        self.process = configuration.process()
        self.managers = [WorkerManager(configuration, self.database)]

    def run(self) -> None:
        """Run the workers; returns when all have ended."""
        logger.info("Supervisor started: %s", self.process)
        wakeup = Wakeup()
        self.database.start()
        try:
            with reporting(), Shutdown() as shutdown, stacks_dumped_on_quit(self._dump_stacks):
                while not all(manager.has_ended for manager in self.managers):
                    self._stop_if_requested(shutdown)
                    for manager in self.managers:
                        manager.tick()
                    wakeup.wait(TICK)
                    if self.database.error:
                        raise self.database.error
        finally:
            for manager in self.managers:
                manager.abandon()
            self.database.end(GRACE.total_seconds())
            wakeup.close()

    def _stop_if_requested(self, shutdown: Shutdown) -> None:
        for manager in self.managers:
            if shutdown.immediate:
                manager.kill()
            elif shutdown.requested:
                manager.stop()

    def _dump_stacks(self) -> None:
        for manager in self.managers:
            manager.dump_stacks()
