"""SIGHUP in a supervisor: replace its workers, one after the other."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from ..worker.handlers import signals_handled
from .manager import WorkerManager


class Replacement:
    """The workers that are still to be replaced. The next one is replaced when all are up.

    So the work goes on meanwhile, and code that does not even start costs only one worker.
    """

    def __init__(self, managers: Sequence[WorkerManager]) -> None:
        self._managers = managers
        self._left: deque[WorkerManager] = deque()

    def begin(self) -> None:
        """Replace all of them, from the first one on."""
        self._left = deque(self._managers)

    def tick(self) -> None:
        """Replace the next worker, if it is its turn."""
        if self._left and all(manager.is_up or manager.has_ended for manager in self._managers):
            self._left.popleft().replace()


def workers_replaced_on_hangup(replacement: Replacement) -> AbstractContextManager[None]:
    """A block in which SIGHUP begins the replacement.

    Not in a terminal, where SIGHUP means that it was closed, and not where it is ignored, as under nohup.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN or _has_terminal():
        return nullcontext()
    return signals_handled([signal.SIGHUP], lambda *_: replacement.begin())


def _has_terminal() -> bool:
    try:
        return os.isatty(0)
    except OSError:
        return False
