"""Settles what one thread of a worker has performed: most jobs together, the others at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from django.db import Error

from ..databases import Removal
from ..execution.outcomes import Outcome
from ..execution.settle import Performed, is_plain, settle_together, write_outcomes
from ..models import DelayedJob
from ..signals import fields_of
from .availability import repeat_while_unavailable
from .children import Children
from .counting import tally_of
from .performing import Performing
from .shutdown import Shutdown
from .slot import Slot
from .statements import Statements
from .wakeup import Wakeup

logger = logging.getLogger("django_delayed")


class Settling:
    """The outcomes of one thread: written, then announced.

    Most rows are removed, or kept with at most a result, by one statement for many. Until then they are in
    the ledger of the slot. Before anything else is written, they are settled.
    """

    def __init__(
        self,
        slot: Slot,
        performing: Performing | Children,
        statements: Statements,
        wakeup: Wakeup,
        shutdown: Shutdown,
        on_settled: Callable[[Outcome], None] | None = None,
    ) -> None:
        self._slot = slot
        self._performing = performing
        self._ask = statements.ask
        self._wakeup = wakeup
        self._shutdown = shutdown
        self._on_settled = on_settled
        self._unsettled: list[Performed] = []

    def add(self, row: DelayedJob, outcome: Outcome) -> None:
        """Take the outcome of the slot's current job, which is the current one no longer."""
        if self._performing.settles_together and is_plain(row, outcome) and self._enter(row):
            self._slot.end()
            self._unsettled.append((row, outcome))
            return
        self.settle()
        lost = self._write([(row, outcome)], lambda: write_outcomes([(row, outcome)]))
        self._slot.end()
        self._announce([] if lost is None or lost else [(row, outcome)])

    def _enter(self, row: DelayedJob) -> bool:
        """Whether the ledger has taken the job; a full ledger is settled first.

        It does not when the database is unavailable at an immediate stop, or if the result is large.
        """
        result = row.result.encode()
        for _ in range(2):
            try:
                self._slot.ledger.add(row.pk, result)
            except OverflowError:
                self.settle()
            else:
                return True
        return False

    def settle(self, claim: Callable[[Removal], list[DelayedJob]] | None = None) -> list[DelayedJob] | None:
        """Settle what is in the ledger: by this claim, if it is one row that leaves nothing behind.

        Returns what was claimed, or None if the claim was not called or has failed. After an error, all is
        settled without the claim, and what it may have claimed has to be released.
        """
        if not self._unsettled:
            return None
        performed, self._unsettled = self._unsettled, []
        removal = _removal_of(performed)
        claimed: list[DelayedJob] | None = None
        tries = 0

        def move() -> list[DelayedJob]:
            nonlocal claimed, tries
            tries += 1
            # After an outage, others may have released what was claimed before it.
            claimed = claim(removal) if claim and removal and tries == 1 else None
            if removal and removal.is_done:
                return []
            # The answer to an earlier statement may be lost.
            may_be_done = tries > 1 or (removal is not None and removal.is_done is None)
            return settle_together(performed, lambda: may_be_done or self._is_settled_by_another)

        lost = self._write(performed, move)
        if lost is None:
            return None
        self._begin_anew(claimed)
        self._announce([(row, outcome) for row, outcome in performed if row not in lost])
        return claimed

    def _begin_anew(self, claimed: list[DelayedJob] | None) -> None:
        # What is in the ledger belongs to the claim of the slot.
        self._slot.ledger.clear()
        if claimed:
            # Before receivers run, which may take long: rows that no slot knows are released after a while.
            self._slot.claim(claimed[0].lock_token)

    @property
    def _is_settled_by_another(self) -> bool:
        return self._slot.ledger.was_settled_by_another(self._slot.claimed)

    def _write(
        self, performed: Sequence[Performed], write: Callable[[], list[DelayedJob]]
    ) -> list[DelayedJob] | None:
        """The rows that have lost their claim; None if the database is unavailable at an immediate stop."""
        try:
            return repeat_while_unavailable(
                lambda: self._ask(write),
                self._wakeup,
                # It does not give up after a permanent error: the job would be performed again.
                give_up=lambda error: self._shutdown.immediate,
            )
        except Error:
            if not self._shutdown.immediate:
                raise
            lost = "%s: the database is unavailable and its outcome is lost; it will run again"
            if performed[0][0].pk in self._slot.ledger.ids:
                lost = "%s: the database is unavailable; its outcome is to be written when this worker ends"
            for row, _ in performed:
                logger.error(lost, row, extra=fields_of(row))
            return None

    def _announce(self, written: Sequence[Performed]) -> None:
        if not written:
            return
        # Before a receiver can change the rows.
        self._slot.count(tally_of(written))
        self._ask(lambda: self._performing.announce(written))
        if self._on_settled:
            for _, outcome in written:
                self._on_settled(outcome)


def _removal_of(performed: Sequence[Performed]) -> Removal | None:
    """The removal of a single row that leaves nothing behind; None for others."""
    row = performed[0][0]
    return Removal(row.pk, row.lock_token) if len(performed) == 1 and row.keep_for is None else None
