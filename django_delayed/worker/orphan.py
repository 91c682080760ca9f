"""Ends a worker when its supervisor is gone, even while a job holds the GIL and no Python can run."""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
import threading


def end_after(fd: int, seconds: float) -> None:
    """Let this process end so many seconds after the other end of the pipe is closed. On Linux only.

    It ends whatever it is doing, so a worker has to finish its own work before that.
    """
    if sys.platform != "linux":
        return
    # A copy, as the stream closes it. Jobs that fork do not keep the other end open.
    libc = ctypes.CDLL(None)
    libc.fdopen.restype = ctypes.c_void_p
    stream = libc.fdopen(os.dup(fd), b"r")
    # Without the lock of the stream: newer C libraries take it when the process ends, and would wait for it.
    steps = [(libc.getc_unlocked, stream), (libc.sleep, math.ceil(seconds)), (libc._exit, 1)]
    # A daemon: it ends with the process, which does not wait for it.
    threading.Thread(target=_run_without_python, args=(libc, steps), daemon=True).start()


def _run_without_python(libc: ctypes.CDLL, steps: list[tuple[object, int]]) -> None:
    """Let the C library call these functions, one after the other, when this thread has ended for Python.

    They are the destructors of thread-specific values, which it calls in the order of their keys.
    """
    # A signal that interrupted the first would look as if the supervisor was gone.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    for function, argument in steps:
        key = ctypes.c_uint()
        libc.pthread_key_create(ctypes.byref(key), function)
        libc.pthread_setspecific(key, ctypes.c_void_p(argument))
