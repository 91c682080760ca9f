"""The supervisor: starts, watches, sends heartbeats for and stops its workers; performs nothing.

Its main thread owns processes, signals and deadlines, and runs no SQL. A second thread runs all of it.
"""

from __future__ import annotations

import logging
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta

from ..conf import settings
from ..features.recurring.definitions import definitions
from ..reports import reporting
from ..worker.availability import PeriodicTask
from ..worker.configuration import Configuration, process_that_serves
from ..worker.handlers import signals_handled
from ..worker.requests import READ_EVERY
from ..worker.shutdown import Shutdown
from ..worker.slot import GRACE
from ..worker.titles import supervisor_titled
from ..worker.wakeup import Wakeup
from .database_thread import DatabaseThread
from .hangup import Replacement, workers_replaced_on_hangup
from .health import Health
from .maintenance import DeadWorkerCheck, KeyCheck, check_interval, remove_expired
from .manager import WorkerManager
from .reaper import Reaper
from .requests import Requests
from .schedules import ScheduleThread
from .stacks import stacks_dumped_on_quit

logger = logging.getLogger("django_delayed")

PRUNE_EVERY = timedelta(minutes=5)
SECONDS_FOR_SCHEDULES = 0.5


class Supervisor:
    """Runs a worker for each configuration, in a process of its own, until SIGTERM or SIGINT.

    A second signal ends it at once; SIGHUP replaces the workers; with SIGUSR2 they are quiet, until SIGCONT.
    `check` runs before any other statement; what it raises is raised by `run`. `health` is told each round.
    """

    def __init__(
        self,
        workers: Sequence[Configuration],
        check: Callable[[], object],
        health: Health | None = None,
    ) -> None:
        self.health = health
        self.schedules = ScheduleThread(definitions())
        tasks = [
            PeriodicTask(DeadWorkerCheck().run, check_interval()),
            PeriodicTask(remove_expired, PRUNE_EVERY),
            PeriodicTask(KeyCheck().run, PRUNE_EVERY),
            PeriodicTask(self.schedules.start_if_needed, settings.LEASE),
        ]
        self.database = DatabaseThread(tasks)
        self.database.request(check)
        self.process = process_that_serves(_what_they_serve(workers), workers[0].name)
        self.wakeup = Wakeup()
        self.managers = [
            WorkerManager(configuration, self.database, self.wakeup) for configuration in workers
        ]
        self.reaper = Reaper()
        self.requests = Requests(self.managers, self.wakeup.wake)
        self.database.add([PeriodicTask(self.requests.read, READ_EVERY)])

    def run(self) -> None:
        """Run the workers; returns when all have ended."""
        logger.info("Supervisor started: %s", self.process)
        replacement = Replacement(self.managers)
        self.database.start()
        try:
            with (
                reporting(),
                Shutdown() as shutdown,
                stacks_dumped_on_quit(self._dump_stacks),
                workers_replaced_on_hangup(replacement),
                # A worker that ends is to wake this process.
                signals_handled([signal.SIGCHLD], lambda *_: None),
                self.requests.by_signal(),
                supervisor_titled(len(self.managers)),
            ):
                while not all(manager.has_ended for manager in self.managers):
                    self._tick(shutdown, replacement)
                    self.wakeup.wait(self._pause())
                    self._raise_errors()
        finally:
            for manager in self.managers:
                manager.abandon()
            self.database.end(GRACE.total_seconds())
            # A hook of a job may hang in it. The next supervisor makes what it has not committed.
            self.schedules.end(SECONDS_FOR_SCHEDULES)
            self.wakeup.close()

    def _tick(self, shutdown: Shutdown, replacement: Replacement) -> None:
        self._stop_if_requested(shutdown)
        self.requests.carry_out()
        replacement.tick()
        for manager in self.managers:
            manager.tick()
        self.reaper.tick({manager.pid for manager in self.managers})
        if self.health:
            ready = sum(manager.is_ready for manager in self.managers)
            self.health.tell(len(self.managers), ready, shutdown.requested)

    def _raise_errors(self) -> None:
        for thread in (self.database, self.schedules):
            if thread.error:
                raise thread.error

    def _pause(self) -> float:
        return min(manager.next_tick_in for manager in self.managers)

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
    kinds = Counter(map(str, workers))
    if len(workers) == 1:
        return next(iter(kinds))
    served = (f"{number} for {filters}" if len(kinds) > 1 else filters for filters, number in kinds.items())
    return f"{len(workers)} workers: {'; '.join(served)}"
