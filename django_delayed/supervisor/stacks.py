"""SIGQUIT in a supervisor: write the stacks of all threads to stderr, and let the workers do the same."""

from __future__ import annotations

import faulthandler
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from ..worker.stacks import NO_STDERR


@contextmanager
def stacks_dumped_on_quit(also: Callable[[], None]) -> Iterator[None]:
    """A block in which SIGQUIT dumps the stacks of this process and calls `also`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def dump(signum: int, frame: FrameType | None) -> None:
        with suppress(*NO_STDERR):
            faulthandler.dump_traceback()
        also()

    before = signal.signal(signal.SIGQUIT, dump)
    try:
        yield
    finally:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL if before is None else before)
