"""SIGTERM and SIGINT: finish the current job, then stop; a second one: stop now."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Shutdown:
    """Whether a stop was asked for. Used as a block, it listens to the signals and gives them back after it.

    The handlers set flags and no more; `interrupt` alone may raise, to end what runs in the main thread.
    """

    def __init__(self, interrupt: Callable[[], None] | None = None) -> None:
        self.requested = False
        self.at_once = False
        self._interrupt = interrupt
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Shutdown:
        if threading.current_thread() is threading.main_thread():
            self._before = {signum: signal.signal(signum, self._receive) for signum in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def request(self) -> None:
        """Ask for the stop."""
        self.requested = True

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        self.at_once = self.requested
        self.requested = True
        if self.at_once and self._interrupt:
            self._interrupt()
