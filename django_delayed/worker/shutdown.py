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
            # None: it was set by something that is not Python, which cannot be put back.
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)

    def request(self) -> None:
        """Ask for the stop."""
        self.requested = True

    def insist(self) -> None:
        """Ask for it as a second signal would; from any thread, where signals are listened to."""
        if self._before:
            # To the main thread: sent to the process, it might go to a thread that has nothing to interrupt.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        self.at_once = self.requested
        self.requested = True
        if self.at_once and self._interrupt:
            self._interrupt()
