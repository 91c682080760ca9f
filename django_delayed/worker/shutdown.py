"""SIGTERM and SIGINT: finish the current job, then stop; a second signal: stop now."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from ..execution.isolation import STOP_SIGNALS

# A job may fork (multiprocessing.Pool) and then end its children with SIGTERM. A child that inherited our
# flag-setting handlers would ignore that, so they are reset after the fork. The signals are blocked during
# the fork so that none is lost.
_listening: list[Shutdown] = []


def _before_fork() -> None:
    if _listening:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def _after_fork() -> None:
    if _listening:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def _after_fork_in_child() -> None:
    if _listening:
        # The socket is the worker's.
        signal.set_wakeup_fd(-1)
        for signum in STOP_SIGNALS:
            signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        _listening.clear()


# Windows has no forks. No worker runs there, but the commands that look at the queue import this.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)


class Shutdown:
    """Whether a stop was requested. As a `with` block, it handles the signals and restores their handlers.

    The handlers only set flags; `interrupt`, called for the second signal, may raise in the main thread.
    """

    def __init__(self, interrupt: Callable[[], None] | None = None) -> None:
        self.requested = False
        self.immediate = False
        self._interrupt = interrupt
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Shutdown:
        if threading.current_thread() is threading.main_thread():
            self._before = {signum: signal.signal(signum, self._receive) for signum in STOP_SIGNALS}
            _listening.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self in _listening:
            _listening.remove(self)
        for signum, handler in self._before.items():
            # None: the handler was not set by Python, which then cannot restore it.
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)

    def request(self) -> None:
        """Request a stop."""
        self.requested = True

    def insist(self) -> None:
        """Request an immediate stop, as a second signal would; from any thread."""
        if self._before:
            # To the main thread: sent to the process, it might interrupt a thread that runs no job.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        self.immediate = self.requested
        self.requested = True
        if self.immediate and self._interrupt:
            self._interrupt()
