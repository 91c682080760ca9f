"""The parent: starts, watches, beats for, stops its workers; performs nothing."""

from __future__ import annotations

import faulthandler
import signal
from datetime import timedelta
from types import FrameType

from django.db import connections

from ..conf import settings
from .chores import Chore
from .heartbeat import TICK
from .keeper import Keeper
from .shutdown import Shutdown
from .upkeep import prune, rescue
from .wakeup import Wakeup
from .worker import Configuration

PRUNE_EVERY = timedelta(minutes=5)


class Supervisor:
    """Runs a worker in a child process until SIGTERM or SIGINT; a second signal ends it at once."""

    def __init__(self, configuration: Configuration) -> None:
        self.keepers = [Keeper(configuration)]
        self.chores = [
            *(Chore(keeper.look, timedelta(0)) for keeper in self.keepers),
            Chore(lambda: rescue(settings.LEASE), settings.LEASE / 2),
            Chore(prune, PRUNE_EVERY),
        ]

    def run(self) -> None:
        """Look after the workers; returns when all have ended."""
        wakeup = Wakeup()
        with Shutdown() as shutdown:
            before = signal.signal(signal.SIGQUIT, self._dump_stacks)
            try:
                while not all(keeper.is_over for keeper in self.keepers):
                    self._pass_on(shutdown)
                    for chore in self.chores:
                        chore.run_when_due()
                    wakeup.wait(TICK)
            finally:
                signal.signal(signal.SIGQUIT, before)
                wakeup.close()
                connections.close_all()

    def _pass_on(self, shutdown: Shutdown) -> None:
        for keeper in self.keepers:
            if shutdown.at_once:
                keeper.kill()
            elif shutdown.requested:
                keeper.stop()

    def _dump_stacks(self, signum: int, frame: FrameType | None) -> None:
        faulthandler.dump_traceback()
        for keeper in self.keepers:
            keeper.dump_stacks()
