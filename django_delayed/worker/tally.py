"""What a worker has performed, in numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..execution.outcomes import Crashed, Failed, Finished, Interrupted, Released, Rescheduled, Suspected
from ..execution.settle import Performed

# Tuples: jobs of a microsecond pass here, and a union of types is made anew each time.
NOT_PERFORMED = (Released, Interrupted, Suspected)
FAILURES = (Failed, Rescheduled, Crashed)


class Tally(NamedTuple):
    """How many jobs were performed and settled, the failed attempts included, and how many of them failed.

    The others are seconds: for how long these jobs waited for a worker after they were due, and ran, in all;
    and the longest that one of them waited.
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
        """What has come to an earlier tally; the longest stays that of this one."""
        return Tally(
            self.processed - earlier.processed,
            self.failed - earlier.failed,
            self.waited - earlier.waited,
            self.ran - earlier.ran,
            self.longest,
        )


def tally_of(settled: Iterable[Performed]) -> Tally:
    """The tally of these outcomes, which are written; a job that was interrupted was not performed."""
    processed = failed = 0
    waited = ran = longest = 0.0
    for row, outcome in settled:
        if isinstance(outcome, Finished):
            ran += outcome.duration
        elif isinstance(outcome, NOT_PERFORMED):
            continue
        else:
            failed += isinstance(outcome, FAILURES)
            ran += outcome.duration or 0.0
        processed += 1
        if row.locked_at:
            wait = (row.locked_at - row.run_at).total_seconds()
            waited += wait
            if wait > longest:
                longest = wait
    return Tally(processed, failed, waited, ran, longest)
