"""SIGQUIT: write the stacks of all threads to stderr, and go on."""

from __future__ import annotations

import faulthandler
import io
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

NO_STDERR = (io.UnsupportedOperation, RuntimeError, ValueError, OSError)


@contextmanager
def dumped_on_quit(also: Callable[[], None] = lambda: None) -> Iterator[None]:
    """In the block, SIGQUIT dumps the stacks of this process and calls `also`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def dump(signum: int, frame: FrameType | None) -> None:
        with suppress(
            io.UnsupportedOperation, RuntimeError, ValueError, OSError
        ):  # there is no stderr to write to
            faulthandler.dump_traceback()
        also()

    before = signal.signal(signal.SIGQUIT, dump)
    try:
        yield
    finally:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL if before is None else before)


def dump_on_quit() -> None:
    """From now on SIGQUIT dumps the stacks of this process: at once, also while a job holds the GIL."""
    try:
        faulthandler.register(signal.SIGQUIT)
    except NO_STDERR:
        signal.signal(signal.SIGQUIT, signal.SIG_IGN)
