"""The duty of the first process of a container: it reaps orphans that have ended."""

from __future__ import annotations

import os
import time
from collections.abc import Container
from contextlib import suppress

# Seconds. Code of this process that waits for a child of its own has done so by then.
REAP_AFTER = 5.0


class Reaper:
    """Reaps processes that jobs have left behind: the kernel hands them to process 1, to be reaped.

    In another process it does nothing.
    """

    def __init__(self) -> None:
        self._has_orphans = os.getpid() == 1
        # The orphan that is to be reaped first.
        self._first: int | None = None
        self._since = 0.0  # on the monotonic clock

    def tick(self, workers: Container[int | None]) -> None:
        """Reap orphans that ended a while ago, but no process of a worker; to be called once a second."""
        if not self._has_orphans:
            return
        ended = _ended_child()
        if ended != self._first:
            self._first, self._since = ended, time.monotonic()
        elif ended is not None and time.monotonic() - self._since >= REAP_AFTER:
            while ended is not None and ended not in workers:
                # The code that started it may have been faster.
                with suppress(ChildProcessError):
                    os.waitpid(ended, os.WNOHANG)
                ended = _ended_child()


def _ended_child() -> int | None:
    """A child of this process that has ended and is still to be reaped; None if there is none."""
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return ended.si_pid if ended else None
