"""How many rows to claim at once."""

from __future__ import annotations

WORTH = 0.02  # seconds of work that a batch is worth at most: what is given back or done again after a crash


class Pace:
    """Jobs of a microsecond by the hundred, a job of a second alone; starts with one and doubles at most."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = 1

    def keep(self, performed: int, seconds: float) -> None:
        """Learn from a batch: so many jobs took so long, their settling included."""
        fitting = int(WORTH * performed / seconds) if seconds else self.most
        self.size = max(1, min(self.most, fitting, self.size * 2))
