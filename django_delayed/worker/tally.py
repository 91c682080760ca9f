"""The numbers of what a worker has performed."""

from __future__ import annotations

from typing import NamedTuple


class Tally(NamedTuple):
    """How many jobs were performed and settled, the failed attempts included, and how many of them failed.

    The others are seconds: how long all these jobs waited for a worker after they were due, how long they
    ran, and the longest wait of one of them.
    """

    processed: int = 0
    failed: int = 0
    waited: float = 0.0
    ran: float = 0.0
    longest: float = 0.0

    def plus(self, more: Tally) -> Tally:
        """Both together."""
        return Tally(
            self.processed + more.processed,
            self.failed + more.failed,
            self.waited + more.waited,
            self.ran + more.ran,
            max(self.longest, more.longest),
        )

    def since(self, earlier: Tally) -> Tally:
        """What was added to an earlier tally; the longest wait stays that of this one."""
        return Tally(
            self.processed - earlier.processed,
            self.failed - earlier.failed,
            self.waited - earlier.waited,
            self.ran - earlier.ran,
            self.longest,
        )
