"""What a supervisor does from time to time for the whole queue."""

from __future__ import annotations

from datetime import timedelta

from ..conf import settings
from ..databases import DatabaseNow
from ..features.recurring.runs import prune_runs
from ..features.unique.holding import KEYS_AT_A_TIME, remove_free
from ..models import WorkerProcess, all_groups, all_progress, all_rows, all_stats
from ..worker.clock import since_boot
from ..worker.recovery import recover_stale


def check_interval() -> timedelta:
    """The time between two checks for dead workers: a quarter of a lease, 15 s by default."""
    return settings.LEASE / 4


class DeadWorkerCheck:
    """Periodically recovers the jobs of dead workers.

    After this process itself was suspended or lost the database, it waits one lease first: every other
    worker's heartbeat looks stale then, and they need time to send a new one.
    """

    def __init__(self) -> None:
        self._checked_at = since_boot()
        self._wait_until = 0.0

    def run(self) -> None:
        """Check once; to be called several times a lease."""
        lease = settings.LEASE.total_seconds()
        # Changes nothing, but raises an error while nothing can be written. SQLite can be read even then.
        WorkerProcess.objects.using(settings.DATABASE).filter(pk="").update(heartbeat_at=DatabaseNow())
        now = since_boot()
        if now - self._checked_at > lease / 2:
            self._wait_until = now + lease
        self._checked_at = now
        if now >= self._wait_until:
            recover_stale()


class KeyCheck:
    """Periodically removes keys of unique jobs that have ended. A run goes on where the last one stopped."""

    MOST = 100  # thousands of keys, so that heartbeats need not wait

    def __init__(self) -> None:
        self._after = ""

    def run(self) -> None:
        """Check some; to be called every few minutes. It stops after a thousand if few of them can go."""
        for _ in range(self.MOST):
            removed, self._after = remove_free(all_rows(), self._after)
            if not self._after or removed < KEYS_AT_A_TIME / 2:
                break


def remove_expired() -> int:
    """Remove the rows that were kept long enough, and old runs, numbers and progress. Returns how many."""
    if settings.KEEP_FAILED_FOR is not None:
        expired = all_rows().failed().filter(expires_at__lte=DatabaseNow())
        all_groups().remember(list(expired.values_list("pk", flat=True)))
    # Progress after the jobs that it belongs to.
    return all_rows().prune() + prune_runs() + all_stats().prune() + all_progress().prune()
