"""What a supervisor does from time to time for the whole queue."""

from __future__ import annotations

import time

from ..conf import settings
from ..databases import DatabaseNow
from ..models import WorkerProcess, all_rows
from ..worker.recovery import recover_stale


class DeadWorkerCheck:
    """Periodically recovers the jobs of dead workers.

    After this process itself was suspended or lost the database, it waits one lease first: every other
    worker's heartbeat looks stale then, and they need time to send a new one.
    """

    def __init__(self) -> None:
        # The wall clock: the monotonic one may stand still while the machine is suspended.
        self._checked_at = time.time()
        self._wait_until = 0.0

    def run(self) -> None:
        """Check once; to be called several times a lease."""
        lease = settings.LEASE.total_seconds()
        # Changes nothing, but raises an error while nothing can be written. SQLite can be read even then.
        WorkerProcess.objects.using(settings.DATABASE).filter(pk="").update(heartbeat_at=DatabaseNow())
        now = time.time()
        if now - self._checked_at > lease / 2:
            self._wait_until = now + lease
        self._checked_at = now
        if now >= self._wait_until:
            recover_stale(settings.LEASE)


def remove_expired() -> int:
    """Remove the rows that were kept long enough. Returns how many."""
    return all_rows().prune()
