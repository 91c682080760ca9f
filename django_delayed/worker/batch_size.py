"""How much to claim at once, and which jobs are short enough to be settled together with others."""

from __future__ import annotations

# The most work in a batch, in seconds. A job of better priority waits for so long, and so much is performed
# again when a host dies.
BATCH_SECONDS = 0.02
# A batch is planned for this part of that time: what it does not do in time has to be released.
MARGIN = 0.75
# The most names of jobs to remember. A project may give each of its jobs a name of its own.
MOST_NAMES = 1000


class BatchSize:
    """Learns from the time that batches take. Starts with one row, and at most doubles with each batch."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = 1

    def learn(self, performed: int, seconds: float) -> None:
        """Learn that so many jobs have taken so many seconds."""
        fitting = int(MARGIN * BATCH_SECONDS * performed / seconds) if seconds else self.most
        self.size = max(1, min(self.most, fitting, self.size * 2))


class ShortJobs:
    """The names of jobs that took less than a batch may take when they were performed last."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def learn(self, name: str, seconds: float) -> None:
        """Learn that a job of this name has taken so many seconds."""
        if seconds >= BATCH_SECONDS:
            self._names.discard(name)
        elif name not in self._names:
            if len(self._names) >= MOST_NAMES:
                self._names.clear()
            self._names.add(name)
