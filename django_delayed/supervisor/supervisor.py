"""The supervisor: starts, watches, sends heartbeats for and stops its workers; performs nothing.

Its main thread owns processes, signals and deadlines, and runs no SQL. A second thread runs all of it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta

from ..reports import reporting
from ..worker.activity import GRACE
from ..worker.availability import PeriodicTask
from ..worker.configuration import Configuration, process_that_serves
from ..worker.heartbeat import TICK, heartbeat_interval
from ..worker.shutdown import Shutdown
from ..worker.wakeup import Wakeup
from .database_thread import DatabaseThread
from .hangup import Replacement, workers_replaced_on_hangup
from .maintenance import DeadWorkerCheck, remove_expired
from .manager import WorkerManager
from .stacks import stacks_dumped_on_quit

logger = logging.getLogger("django_delayed")

PRUNE_EVERY = timedelta(minutes=5)


class Supervisor:
    """Runs a worker for each configuration, in a process of its own, until SIGTERM or SIGINT.

    A second signal ends it at once; SIGHUP replaces the workers. `check` runs before any other statement;
    what it raises is raised by `run`.
    """

    def __init__(self, workers: Sequence[Configuration], check: Callable[[], object]) -> None:
        dead_workers = PeriodicTask(DeadWorkerCheck().run, heartbeat_interval())
        self.database = DatabaseThread([dead_workers, PeriodicTask(remove_expired, PRUNE_EVERY)])
        self.database.request(check)
        self.process = process_that_serves(_what_they_serve(workers))
        self.managers = [WorkerManager(configuration, self.database) for configuration in workers]

    def run(self) -> None:
        """Run the workers; returns when all have ended."""
        logger.info("Supervisor started: %s", self.process)
        wakeup, replacement = Wakeup(), Replacement(self.managers)
        self.database.start()
        try:
            with (
                reporting(),
                Shutdown() as shutdown,
                stacks_dumped_on_quit(self._dump_stacks),
                workers_replaced_on_hangup(replacement),
            ):
                while not all(manager.has_ended for manager in self.managers):
                    self._stop_if_requested(shutdown)
                    replacement.tick()
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


def _what_they_serve(workers: Sequence[Configuration]) -> str:
    """The number of the workers, if there are several, and the queues and priorities of each kind."""
    kinds = Counter(str(configuration.filters) for configuration in workers)
    if len(workers) == 1:
        return next(iter(kinds))
    served = (f"{number} for {filters}" if len(kinds) > 1 else filters for filters, number in kinds.items())
    return f"{len(workers)} workers: {'; '.join(served)}"
