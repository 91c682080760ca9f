"""The one place where a worker or its supervisor sleeps, and anything may wake it."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

# Seconds; there is a limit to what select() takes.
LONGEST = 24 * 3600.0


class Wakeup:
    """Sleeps until the time is up, a signal arrives, or `wake` is called."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._ends: dict[int, Callable[[], object]] = {}
        self._before: int | None = None
        if threading.current_thread() is threading.main_thread():
            # Without it, a signal that arrives just before the sleep would be noticed only after it.
            self._before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def wait(self, seconds: float, fd: int | None = None) -> bool:
        """Sleep at most this long, or until the file descriptor can be read. Returns whether it was woken.

        Only one thread may call it.
        """
        readers: list[Any] = [self._reader, *self._ends] if fd is None else [self._reader, *self._ends, fd]
        ready, _, _ = select.select(readers, [], [], min(max(seconds, 0), LONGEST))
        for end in [end for end in self._ends if end in ready]:
            # It stays readable from now on.
            self._ends.pop(end)()
        if self._reader not in ready:
            return False
        self._reader.recv(4096)
        return True

    def on_end_of(self, fd: int, function: Callable[[], object]) -> None:
        """Call the function, once, when a sleep finds the other end of this pipe closed: that ends the sleep.

        Nothing is written to the pipe.
        """
        self._ends[fd] = function

    @property
    def fd(self) -> int:
        """The file descriptor for `wake`, which another process may inherit."""
        return self._writer.fileno()

    def wake(self) -> None:
        """End the present sleep, or the next one; from any thread."""
        wake(self.fd)

    def close(self) -> None:
        """Restore the signal handling that was there before."""
        if self._before is not None:
            signal.set_wakeup_fd(self._before)
        self._reader.close()
        self._writer.close()


def wake(fd: int) -> None:
    """End the present sleep of the `Wakeup` that has this file descriptor, or its next one."""
    # BlockingIOError: the buffer is full, so it wakes anyhow. Other OSErrors: it is closed.
    with suppress(OSError):
        os.write(fd, b"\0")
