"""What may happen to a job although its code is right: its worker dies, or it is delivered twice."""

from __future__ import annotations

from typing import Any, Unpack

from ..claiming import forget_lanes
from ..databases import DatabaseNow, VirtualTime, virtual_time
from ..execution.deaths import decide_after_crash
from ..execution.outcomes import Crashed, Finished
from ..models import DelayedJob, all_rows
from .selection import Criteria, Wanted, waiting
from .work_off import TICK, claim_next, has_failed, perform_and_settle, perform_only, raise_error_of, settle

WHY = "the test let its worker die"


def crash(what: Any = None, /, **criteria: Unpack[Criteria]) -> None:
    """Let the worker die in the next attempt of the first such job, before the job has done anything.

    The virtual time moves on until the job is due. The arguments are those of `enqueued`. Raises
    AssertionError if no such job waits.
    """
    __tracebackhide__ = True
    with virtual_time() as time:
        row = _claim_when_due(_first(what, criteria), time)
        settle(row, decide_after_crash(row, WHY))


def deliver_twice(what: Any = None, /, **criteria: Unpack[Criteria]) -> None:
    """Perform the first such job, let its worker die before that is recorded, and perform it again.

    The error of either attempt is raised, once it is recorded. A job with `atomic = True` is performed once:
    its own transaction removes its row, and nothing is left to deliver. Otherwise as `crash`.
    """
    __tracebackhide__ = True
    with virtual_time() as time:
        row = _claim_when_due(_first(what, criteria), time)
        first = perform_only(row)
        if has_failed(first):
            settle(row, first)
            raise first.exception
        if isinstance(first, Finished) and first.is_moved:
            settle(row, first)
            return
        crashed = decide_after_crash(row, WHY)
        settle(row, crashed)
        if isinstance(crashed, Crashed) and crashed.wait is None:
            raise AssertionError(
                f"{row} has failed with its worker: it had no attempt left for a second delivery."
            )
        raise_error_of(perform_and_settle(_claim_when_due(row, time)))


def _first(what: Any, criteria: Criteria) -> DelayedJob:
    """The row of the first such job: the one that is due before the others."""
    __tracebackhide__ = True
    wanted = Wanted(what, criteria)
    rows = [found.row for found in waiting() if wanted.is_met_by(found)]
    if not rows:
        raise AssertionError(f"{wanted} was not enqueued.")
    return min(rows, key=lambda row: (row.run_at, row.pk))


def _claim_when_due(row: DelayedJob, time: VirtualTime) -> DelayedJob:
    """Claim this row when it is due; rows that a worker would claim before it are released again."""
    __tracebackhide__ = True
    run_at, now = all_rows().filter(pk=row.pk).values_list("run_at", DatabaseNow()).get()
    if run_at > now:
        time.advance(run_at - now + TICK)
    forget_lanes()
    others = []
    while (claimed := claim_next()) and claimed.pk != row.pk:
        others.append(claimed)
    all_rows().release(others)
    if claimed is None:
        raise AssertionError(f"{row} is locked by another transaction, or by a worker.")
    return claimed
