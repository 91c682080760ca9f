"""The supervisor: starts, watches, sends heartbeats for and stops its workers; performs nothing."""

from __future__ import annotations

from datetime import timedelta

from django.db import connections

from ..worker.availability import PeriodicTask
from ..worker.configuration import Configuration
from ..worker.heartbeat import TICK, heartbeat_interval
from ..worker.shutdown import Shutdown
from ..worker.wakeup import Wakeup
from .maintenance import DeadWorkerCheck, remove_expired
from .manager import WorkerManager
from .stacks import stacks_dumped_on_quit

PRUNE_EVERY = timedelta(minutes=5)


class Supervisor:
    """Runs a worker in a process of its own until SIGTERM or SIGINT; a second signal ends it at once."""

    def __init__(self, configuration: Configuration) -> None:
        self.managers = [WorkerManager(configuration)]
        self.tasks = [
            *(PeriodicTask(manager.tick, timedelta(0)) for manager in self.managers),
            PeriodicTask(DeadWorkerCheck().run, heartbeat_interval()),
            PeriodicTask(remove_expired, PRUNE_EVERY),
        ]

    def run(self) -> None:
        """Run the workers; returns when all have ended."""
        wakeup = Wakeup()
        try:
            with Shutdown() as shutdown, stacks_dumped_on_quit(self._dump_stacks):
                while not all(manager.has_ended for manager in self.managers):
                    self._stop_if_requested(shutdown)
                    for task in self.tasks:
                        task.run_if_due()
                    wakeup.wait(TICK)
        finally:
            for manager in self.managers:
                manager.abandon()
            wakeup.close()
            connections.close_all()

    def _stop_if_requested(self, shutdown: Shutdown) -> None:
        for manager in self.managers:
            if shutdown.immediate:
                manager.kill()
            elif shutdown.requested:
                manager.stop()

    def _dump_stacks(self) -> None:
        for manager in self.managers:
            manager.dump_stacks()
