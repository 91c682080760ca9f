"""The parent: starts, watches, beats for, stops its workers; performs nothing."""

from __future__ import annotations

from datetime import timedelta

from django.db import connections

from .chores import Chore
from .heartbeat import TICK, beat_interval
from .keeper import Keeper
from .shutdown import Shutdown
from .stacks import dumped_on_quit
from .upkeep import Lookout, prune
from .wakeup import Wakeup
from .worker import Configuration

PRUNE_EVERY = timedelta(minutes=5)


class Supervisor:
    """Runs a worker in a child process until SIGTERM or SIGINT; a second signal ends it at once."""

    def __init__(self, configuration: Configuration) -> None:
        self.keepers = [Keeper(configuration)]
        self.chores = [
            *(Chore(keeper.look, timedelta(0)) for keeper in self.keepers),
            Chore(Lookout().look, beat_interval()),
            Chore(prune, PRUNE_EVERY),
        ]

    def run(self) -> None:
        """Look after the workers; returns when all have ended."""
        wakeup = Wakeup()
        try:
            with Shutdown() as shutdown, dumped_on_quit(self._dump_stacks):
                while not all(keeper.is_over for keeper in self.keepers):
                    self._pass_on(shutdown)
                    for chore in self.chores:
                        chore.run_when_due()
                    wakeup.wait(TICK)
        finally:
            for keeper in self.keepers:
                keeper.leave()
            wakeup.close()
            connections.close_all()

    def _pass_on(self, shutdown: Shutdown) -> None:
        for keeper in self.keepers:
            if shutdown.at_once:
                keeper.kill()
            elif shutdown.requested:
                keeper.stop()

    def _dump_stacks(self) -> None:
        for keeper in self.keepers:
            keeper.dump_stacks()
