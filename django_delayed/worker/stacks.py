"""SIGQUIT in a worker: write the stacks of all threads to stderr, and go on."""

from __future__ import annotations

import faulthandler
import io
import signal

NO_STDERR = (io.UnsupportedOperation, RuntimeError, ValueError, OSError)


def dump_on_quit() -> None:
    """Let SIGQUIT dump the stacks of this process: at once, even while a job holds the GIL."""
    try:
        faulthandler.register(signal.SIGQUIT)
    except NO_STDERR:
        signal.signal(signal.SIGQUIT, signal.SIG_IGN)
