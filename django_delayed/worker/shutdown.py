"""SIGTERM and SIGINT: finish the current job, then stop; a second signal: stop now.

A SIGTERM that follows within two seconds counts as the same request: some platforms send it several times, or
to every process, and tools pass on what their children have received already. Control-C twice means now.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType

from ..execution.isolation import STOP_SIGNALS
from .handlers import signals_handled

REPEATED_WITHIN = 2.0  # seconds


class Shutdown:
    """Whether a stop was requested. As a `with` block, it handles the signals and restores their handlers.

    The handlers only set flags; `interrupt`, called for the second signal, may raise in the main thread.
    With `is_supervised`, no signal requests an immediate stop: the supervisor decides when the time is up,
    and its own SIGTERM may be the second one.
    """

    def __init__(self, interrupt: Callable[[], None] | None = None, is_supervised: bool = False) -> None:
        self.requested = False
        self.immediate = False
        self._interrupt = interrupt
        self._is_supervised = is_supervised
        # When the first signal arrived, on the monotonic clock.
        self._signalled_at: float | None = None
        self._insists = False
        self._handlers = ExitStack()
        self._is_listening = False

    def __enter__(self) -> Shutdown:
        self._is_listening = threading.current_thread() is threading.main_thread()
        self._handlers.enter_context(signals_handled(STOP_SIGNALS, self._receive))
        return self

    def __exit__(self, *_: object) -> None:
        self._handlers.close()

    def request(self) -> None:
        """Request a stop."""
        self.requested = True

    def insist(self) -> None:
        """Request an immediate stop, as a second signal would; from any thread."""
        self._insists = True
        if self._is_listening:
            # To the main thread: sent to the process, it might interrupt a thread that runs no job.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        self.requested = True
        self.immediate = self.immediate or self._means_now(signum)
        if self.immediate and self._interrupt:
            self._interrupt()

    def _means_now(self, signum: int) -> bool:
        if self._is_supervised or self._insists:
            return self._insists
        now = time.monotonic()
        if self._signalled_at is None:
            self._signalled_at = now
            return False
        return signum != signal.SIGTERM or now - self._signalled_at >= REPEATED_WITHIN
