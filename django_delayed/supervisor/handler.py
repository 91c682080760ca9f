"""A signal of the supervisor beside those that stop it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def signal_handled(number: signal.Signals, handle: Callable[[], None]) -> Iterator[None]:
    """A block in which the signal calls this; not in another thread than the main one, which gets none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, lambda *_: handle())
    try:
        yield
    finally:
        # None: the handler was not set by Python, which then cannot restore it.
        signal.signal(number, signal.SIG_DFL if before is None else before)
