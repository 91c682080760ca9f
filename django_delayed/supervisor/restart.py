"""When to start the next worker after one that has ended by itself."""

from __future__ import annotations

import logging
import time

from ..conf import settings
from ..worker.availability import backoff
from .sources import SourceWatch

logger = logging.getLogger("django_delayed")

# Seconds; a worker that lived longer is replaced soon, whatever came before.
STEADY = 5.0
AFTER_A_CRASH = 0.5  # seconds at most
# Seconds; the repair may be in a file that SourceWatch does not know.
RETRY_BROKEN_CODE_AFTER = 30.0


class Restart:
    """The next worker starts at once at first, and later and later if workers end soon after their start."""

    def __init__(self) -> None:
        self._at = 0.0  # on the monotonic clock
        self._pauses = backoff()
        self._sources: SourceWatch | None = None
        self._code_is_broken = False

    def is_due(self) -> bool:
        """Whether the next worker may be started now."""
        return time.monotonic() >= self._at or self._code_was_repaired()

    def worker_starts(self) -> None:
        """A worker is about to be started, and will read the code."""
        self._sources = SourceWatch() if settings.RELOAD else None
        self._code_is_broken = False
        # If it ends because the code has changed again, the next one starts at once.
        self._at = 0.0

    def worker_failed(self, lived: float, in_a_job: bool) -> None:
        """A worker has ended by itself after so many seconds."""
        if lived > STEADY:
            self._pauses = backoff()
        pause = next(self._pauses)
        # Jobs that crash their workers are soon given up, and the jobs behind them should not wait for that.
        self._at = time.monotonic() + (min(pause, AFTER_A_CRASH) if in_a_job else pause)

    def wait_for_repair(self) -> None:
        """The worker could not load the code: start the next when a source file has changed."""
        logger.error("Waiting for the code to be repaired")
        self._code_is_broken = True
        self._at = time.monotonic() + RETRY_BROKEN_CODE_AFTER

    def _code_was_repaired(self) -> bool:
        return self._code_is_broken and self._sources is not None and self._sources.has_changed()
