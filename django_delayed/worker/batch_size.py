"""How many rows to claim at once."""

from __future__ import annotations

# Of work in a batch at most: so much is released, or performed again, after a crash.
BATCH_SECONDS = 0.02


class BatchSize:
    """Learns from how long batches take. Starts with one row, and at most doubles from batch to batch."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = 1

    def learn(self, performed: int, seconds: float) -> None:
        """So many jobs took so long, including their settling."""
        fitting = int(BATCH_SECONDS * performed / seconds) if seconds else self.most
        self.size = max(1, min(self.most, fitting, self.size * 2))
