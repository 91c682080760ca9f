"""Perform what waits, in the process and the transaction of the test, in virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date, datetime, timedelta
from typing import TypeGuard

from django.db import connections
from django.test import TestCase
from django.utils import timezone

from ..claiming import forget_lanes
from ..conf import duration
from ..databases import VirtualTime, in_callers_transaction, virtual_time
from ..execution.outcomes import Crashed, Failed, Outcome, Released, Rescheduled
from ..execution.perform import perform
from ..execution.session import Session
from ..execution.settle import send_signals, write_outcomes
from ..models import DelayedJob, all_rows
from ..options import check_options
from ..worker.configuration import new_worker_id

WORKER = new_worker_id()
# A database may keep milliseconds only, and find that a row is due one later than another clock does.
TICK = timedelta(milliseconds=1)
MOST_EMPTY_CLAIMS = 3
# While a test performs jobs, real time passes too.
SLACK = timedelta(milliseconds=100)


def work_off(until: timedelta | float | datetime | None = None, *, raise_errors: bool = True) -> int:
    """Perform every job that is due, as a worker does, and what these enqueue. Returns how many attempts.

    With `until`, a span from now or an aware datetime, time passes at once up to it: scheduled jobs and
    further attempts are performed in their order, each when it is due. Only the clock of the database moves:
    Python's stays as it is. Callbacks of `transaction.on_commit` that a job registers are run after it. The
    error of a job is raised once it is recorded; without `raise_errors`, the job is rescheduled or fails as
    it would in a worker.
    """
    attempts = 0
    with virtual_time() as time:
        for row in _due(_span(until), time):
            outcome = perform_and_settle(row)
            attempts += 1
            if isinstance(outcome, Released):
                break
            if raise_errors:
                raise_error_of(outcome)
    return attempts


def _due(left: timedelta, time: VirtualTime) -> Iterator[DelayedJob]:
    """Claim the rows that are due now, and those that fall due while this much time passes."""
    empty_claims = 0
    # A row that is due and cannot be claimed is locked by another transaction.
    while empty_claims < MOST_EMPTY_CLAIMS:
        forget_lanes()
        if row := claim_next():
            empty_claims = 0
            yield row
            continue
        due_in = all_rows().next_due()
        if due_in is None or (span := timedelta(seconds=max(due_in, 0))) > left + SLACK:
            return
        empty_claims += 1
        left -= span
        time.advance(span + TICK)


def claim_next() -> DelayedJob | None:
    """The next row that is due, claimed as a worker would."""
    # One at a time: after an error, no other row must stay claimed.
    return next(iter(all_rows().claim(WORKER)), None)


def perform_and_settle(row: DelayedJob) -> Outcome:
    """Perform the job of a claimed row, and write and announce its outcome."""
    outcome = perform_only(row)
    settle(row, outcome)
    return outcome


def perform_only(row: DelayedJob) -> Outcome:
    """Perform the job of a claimed row, and leave the row as it is."""
    with _callbacks_run():
        return perform(row, _Session(keeps=False))


def settle(row: DelayedJob, outcome: Outcome) -> None:
    """Write the outcome, and announce it; the error keeps its frames, for whoever debugs the test."""
    if write_outcomes([(row, outcome)]):
        return
    with _callbacks_run(), Session(keeps=False):
        send_signals(row, outcome)


def raise_error_of(outcome: Outcome) -> None:
    """Raise the error with which the attempt failed."""
    if has_failed(outcome):
        raise outcome.exception


def has_failed(outcome: Outcome) -> TypeGuard[Rescheduled | Failed | Crashed]:
    """Whether the attempt ended with an error that the test has to see."""
    return isinstance(outcome, Rescheduled | Failed | Crashed)


class _Session(Session):
    """The session of a worker, in which the job runs its `on_commit` callbacks: their errors are its own."""

    @contextmanager
    def callers_transactions_kept(self) -> Iterator[None]:
        with super().callers_transactions_kept(), _callbacks_run():
            yield


@contextmanager
def _callbacks_run() -> Iterator[None]:
    """A block that runs its `on_commit` callbacks at its end: outside of tests, a job's writes are committed.

    They leave the list of the connection, so that a test which captures callbacks does not run them again.
    """
    inside = [connection for connection in connections.all(True) if in_callers_transaction(connection)]
    before = [(connection, len(connection.run_on_commit)) for connection in inside]
    try:
        with ExitStack() as stack:
            for connection in inside:
                stack.enter_context(TestCase.captureOnCommitCallbacks(using=connection.alias, execute=True))
            yield
    finally:
        for connection, number in before:
            del connection.run_on_commit[number:]


def _span(until: timedelta | float | datetime | None) -> timedelta:
    if until is None:
        return timedelta(0)
    if isinstance(until, date):
        run_at: datetime = check_options({"run_at": until})["run_at"]
        return run_at - timezone.now()
    return duration(until, "until")
