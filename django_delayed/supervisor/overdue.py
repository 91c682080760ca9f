"""The jobs of a worker with threads that run too long: no alarm reaches a thread."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from ..worker.slot import Current


class OverdueJobs:
    """The jobs that were found to have outlived their max_run_time, and are settled for that reason."""

    def __init__(self) -> None:
        self._found: set[tuple[int, int]] = set()

    def find(self, currents: Sequence[Current]) -> Sequence[Current]:
        """Those of these jobs that have outlived their max_run_time since the last call."""
        return self.add([job for job in currents if job.has_outlived_limit_by(timedelta(0))])

    def add(self, jobs: Sequence[Current]) -> Sequence[Current]:
        """Those of these jobs that were not found before; they are to be settled."""
        found = [job for job in jobs if job.key not in self._found]
        self._found.update(job.key for job in found)
        return found

    def are_all_of(self, currents: Sequence[Current]) -> bool:
        """Whether some were found, and no other job is performed."""
        return bool(self._found) and self._found.issuperset(job.key for job in currents)
