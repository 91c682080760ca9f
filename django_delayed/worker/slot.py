"""One place for the jobs of a worker, on the page that it shares with its supervisor."""

from __future__ import annotations

import math
import struct
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from .ledger import LEDGER_SIZE, Ledger, Unsettled, results_in
from .page import NUMBER, TIME, WORD, read, since
from .tally import Tally

if TYPE_CHECKING:
    from mmap import mmap

JOB = "@qdq"  # an id, a limit, and the id again once the job is cancelled
TALLY = "@qqddd"
# Offsets in a slot.
JOB_AT, LIMIT_AT, CANCEL_AT, BEGAN_AT, STATEMENT_AT, CLAIM_AT, TALLY_AT = range(0, 7 * WORD, WORD)
LEDGER_AT = TALLY_AT + struct.calcsize(TALLY)
LONGEST_AT = LEDGER_AT - WORD
SLOT_SIZE = LEDGER_AT + LEDGER_SIZE

# How long a job may outlive its max_run_time, for its own alarm to end it.
GRACE = timedelta(seconds=3)


@dataclass(frozen=True)
class Current:
    """The current job: its id, its age, and how long it may run; a limit of None while it is settled.

    `token` is the one of the claim by which the worker has it.
    """

    id: int
    age: timedelta
    limit: timedelta | None
    token: int = 0

    @property
    def key(self) -> tuple[int, int]:
        """Its id and its claim: the same row may come again, by another claim."""
        return self.id, self.token

    @property
    def is_overdue(self) -> bool:
        """Whether it has outlived its limit for so long that its own alarm will not end it."""
        return self.has_outlived_limit_by(GRACE)

    def has_outlived_limit_by(self, span: timedelta) -> bool:
        """Whether it runs for longer than its limit and this span."""
        return self.limit is not None and self.age > self.limit + span


class Slot:
    """A place on the page for one job after the other: written by the thread that performs them."""

    def __init__(self, page: mmap, start: int) -> None:
        self._page = page
        self._start = start
        self.ledger = Ledger(page, start + LEDGER_AT)

    # The current job

    def begin(self, id: int, limit: timedelta) -> None:
        """Note that a job begins."""
        # The time comes last: a reader that finds it also finds the id and the limit that belong to it.
        struct.pack_into(JOB, self._page, self._start + JOB_AT, id, limit.total_seconds(), 0)
        self._write(BEGAN_AT, time.monotonic())

    def limit_to(self, limit: timedelta) -> None:
        """Note how long the current job may run."""
        self._write(LIMIT_AT, limit.total_seconds())

    def performed(self) -> None:
        """Note that the current job has ended. While the database is unavailable, it is not settled yet."""
        self._write(LIMIT_AT, math.inf)

    def end(self) -> None:
        """Note that there is no current job."""
        self._write(BEGAN_AT, 0.0)

    def current(self) -> Current | None:
        """The current job, if there is one; None once it is in the ledger."""
        while True:
            # Before the page is read, so that the age is never more than the job has reached.
            now = time.monotonic()
            began = self._read(BEGAN_AT)
            id, limit, _ = struct.unpack_from(JOB, self._page, self._start + JOB_AT)
            token = self.claimed
            if began == self._read(BEGAN_AT):
                break
        if not began or id == self.ledger.last:
            return None
        age = timedelta(seconds=max(now - began, 0))
        return Current(id, age, None if math.isinf(limit) else timedelta(seconds=limit), token)

    def cancel(self, id: int) -> None:
        """Note that an operator ends this job, if it is the current one. `CancelledJobs` calls this."""
        self._write_number(CANCEL_AT, id)

    def is_cancelled(self, id: int) -> bool:
        """Whether an operator ends the job of this id, the current one."""
        return self._read_number(CANCEL_AT) == id

    # Its claims and statements

    def claim(self, token: int) -> None:
        """Note that the thread has the rows of this claim, and no others."""
        self._write_number(CLAIM_AT, token)

    @property
    def claimed(self) -> int:
        """The token of the last claim that has brought rows to the thread; 0 before the first."""
        return self._read_number(CLAIM_AT)

    def unsettled(self) -> Unsettled:
        """What is in the ledger, with the token of the claim that its rows belong to."""
        while True:
            token, ids, written = self.claimed, self.ledger.ids, self.ledger.written_results
            # The worker may have settled them meanwhile, and written others.
            if token == self.claimed and ids == self.ledger.ids:
                return Unsettled(token, ids, results_in(written))

    def begin_statement(self) -> None:
        """Note that the thread begins to wait for a statement of the worker, and not for one of a job."""
        self._write(STATEMENT_AT, time.monotonic())

    def end_statement(self) -> None:
        """Note that the thread waits for no statement of the worker."""
        self._write(STATEMENT_AT, 0.0)

    @property
    def in_statement_for(self) -> timedelta:
        """How long the thread has been waiting for a statement of the worker; 0 while it is not."""
        return since(self._page, self._start + STATEMENT_AT)

    # What it has done

    def count(self, more: Tally) -> None:
        """Count these jobs too, which were performed and settled."""
        struct.pack_into(TALLY, self._page, self._start + TALLY_AT, *self.tally.plus(more))

    @property
    def tally(self) -> Tally:
        """What was performed and settled in this slot, with the longest wait since `forget_longest`."""
        return Tally(*struct.unpack_from(TALLY, self._page, self._start + TALLY_AT))

    def forget_longest(self) -> None:
        """Forget the longest wait, which is written down. One that is counted now may be lost, or stay."""
        self._write(LONGEST_AT, 0.0)

    def _read(self, offset: int) -> float:
        return read(self._page, self._start + offset)

    def _write(self, offset: int, number: float) -> None:
        # Not by `write`, to save the call: even a job that does nothing takes eight of them.
        struct.pack_into(TIME, self._page, self._start + offset, number)

    def _read_number(self, offset: int) -> int:
        return int(struct.unpack_from(NUMBER, self._page, self._start + offset)[0])

    def _write_number(self, offset: int, number: int) -> None:
        struct.pack_into(NUMBER, self._page, self._start + offset, number)
