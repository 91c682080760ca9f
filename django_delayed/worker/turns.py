"""The threads of a worker take turns: one claims or sleeps, the others perform or wait for their turn.

So any number of idle threads costs the database and the processor as much as one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

# Seconds between two checks whether the worker is to stop, while a thread waits until it is alone.
LOOK_EVERY = 0.1


class Turns:
    """Which thread has the turn; in a worker without threads, the main thread always takes it at once.

    A thread has the turn from `take` to `come_back`, or until it passes the turn on, to perform beside the
    others.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._holder = 0
        self._performing = 0  # threads that have passed the turn on and have not come back
        self._changed = threading.Condition()

    def take(self, timeout: float = -1) -> bool:
        """Wait for the turn, for so many seconds at most (-1: no limit). Returns whether it has come."""
        taken = self._turn.acquire(timeout=timeout)
        if taken:
            self._holder = threading.get_ident()
        return taken

    def pass_on(self) -> None:
        """Let another thread have the turn while this one performs."""
        with self._changed:
            self._performing += 1
        self._leave()

    @property
    def is_mine(self) -> bool:
        """Whether it is the turn of this thread."""
        return self._holder == threading.get_ident()

    def come_back(self) -> None:
        """End the turn of this thread, or note that it has performed after it passed the turn on."""
        if self.is_mine:
            self._leave()
            return
        with self._changed:
            self._performing -= 1
            self._changed.notify_all()

    @property
    def no_other_performs(self) -> bool:
        """Whether no thread performs except the one that has the turn."""
        return not self._performing

    def wait_until_alone(self, gives_up: Callable[[], bool]) -> bool:
        """Wait in the turn of this thread until no other performs; none begins before the turn is over.

        Returns False as soon as `gives_up` returns True.
        """
        with self._changed:
            while self._performing:
                if gives_up():
                    return False
                self._changed.wait(LOOK_EVERY)
        return True

    def _leave(self) -> None:
        self._holder = 0
        self._turn.release()
