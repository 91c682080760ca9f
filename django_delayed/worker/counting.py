"""What outcomes add to the tally of a worker."""

from __future__ import annotations

from collections.abc import Iterable

from ..execution.outcomes import Crashed, Failed, Finished, Interrupted, Released, Rescheduled, Suspected
from ..execution.settle import Performed
from .tally import Tally

# Tuples: jobs of a microsecond are counted here, and a union of types would be made anew for each.
NOT_PERFORMED = (Released, Interrupted, Suspected)
FAILURES = (Failed, Rescheduled, Crashed)


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
