"""SIGTERM and SIGINT: finish the current job, then stop; a second one: stop now."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


# A job may fork, by a multiprocessing.Pool say, and wait for the end of what it has signalled: processes that
# only took a note of it would never end. Held back meanwhile, a signal to the new process is not lost either.
_listening: list[Shutdown] = []


def _before_fork() -> None:
    if _listening:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _after_fork() -> None:
    if _listening:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _after_fork_in_child() -> None:
    if _listening:
        signal.set_wakeup_fd(-1)  # the socket is the worker's
        for signum in SIGNALS:
            signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        _listening.clear()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)


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
            _listening.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self in _listening:
            _listening.remove(self)
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
