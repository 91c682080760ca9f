"""Handlers of signals, in a worker and in its supervisor."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# A job may fork (multiprocessing.Pool) and then end its children with SIGTERM. A child that inherited our
# flag-setting handlers would ignore that, so they are reset after the fork. The signals are blocked during
# the fork so that none is lost.
_handled: list[int] = []


def _before_fork() -> None:
    if _handled:
        signal.pthread_sigmask(signal.SIG_BLOCK, _handled)


def _after_fork() -> None:
    if _handled:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _handled)


def _after_fork_in_child() -> None:
    if _handled:
        # The wakeup socket is the worker's.
        signal.set_wakeup_fd(-1)
        for number in _handled:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _handled)
        _handled.clear()


# Windows has no forks. No worker runs there, but the commands that look at the queue import this.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)


@contextmanager
def signals_handled(numbers: Iterable[int], handle: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """A block in which these signals call `handle`. It does nothing outside of the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handle) for number in numbers}
    _handled.extend(before)
    try:
        yield
    finally:
        for number, handler in before.items():
            # In a child that was forked inside, none is handled any more.
            if number in _handled:
                _handled.remove(number)
            # None: the handler was not set by Python, so Python cannot restore it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
