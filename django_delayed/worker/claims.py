"""The claims of one thread of a worker, and what happens when the answer to a claim is lost.

What was performed is settled before a claim. If that is a single job, and a single row is to be claimed, one
statement does both where the database can: with batching off, and while jobs are too long for batches. After
an error of that statement, and in unusual cases, there are two statements.
"""

from __future__ import annotations

from functools import partial

from django.db import connections

from ..conf import settings
from ..databases import Removal, database, in_callers_transaction
from ..databases.sessions import close_old
from ..models import DelayedJob, all_rows
from .activity import Activity
from .batch_size import BATCH_SECONDS
from .configuration import Configuration
from .settling import Settling
from .shutdown import Shutdown
from .slot import Slot
from .statements import Statements
from .wakeup import Wakeup

# Seconds between two checks whether the supervisor sends heartbeats again.
LOOK_EVERY = 0.1


class Claims:
    """Takes rows for the worker of this id."""

    def __init__(
        self,
        worker: str,
        configuration: Configuration,
        activity: Activity,
        slot: Slot,
        settling: Settling,
        statements: Statements,
        wakeup: Wakeup,
        shutdown: Shutdown,
    ) -> None:
        self._worker = worker
        self._filters = configuration.filters
        self._activity = activity
        self._slot = slot
        self._settling = settling
        self._ask = statements.ask
        self._wakeup = wakeup
        self._shutdown = shutdown
        self._answer_is_missing = False  # that of the last claim
        self._was_full = False  # whether the last claim has taken as many rows as it was allowed to

    def take(self, limit: int) -> list[DelayedJob]:
        """Settle what was performed, and claim at most so many rows; none once a stop is requested."""
        by_claim = partial(self._claim, limit) if limit == 1 and self._can_remove else None
        claimed = self._settling.settle(by_claim)
        if claimed is None:
            return self._take(limit)
        self._answer_is_missing = False
        return claimed

    @property
    def _can_remove(self) -> bool:
        """Whether a claim can remove a row of the one before it, and nothing has to be done between them."""
        can = database(connections[settings.DATABASE]).CLAIM_REMOVES
        return can and not (self._answer_is_missing or self._is_suspended or self._shutdown.requested)

    @property
    def _is_suspended(self) -> bool:
        """Whether the supervisor sends no heartbeats."""
        return self._activity.is_stale(settings.LEASE / 2)

    def _take(self, limit: int) -> list[DelayedJob]:
        # Others may soon declare this worker dead, and what it claimed and performed then would be performed
        # again.
        while self._is_suspended and not self._shutdown.requested:
            self._wakeup.wait(LOOK_EVERY)
        if self._shutdown.requested:
            return []
        if self._answer_is_missing:
            self._ask(self._release_unknown)
        rows = self._ask(lambda: self._claim(limit))
        self._answer_is_missing = False
        if rows:
            self._slot.claim(rows[0].lock_token)
        return rows

    def _claim(self, limit: int, removal: Removal | None = None) -> list[DelayedJob]:
        queue = connections[settings.DATABASE]
        close_old(queue)
        if not in_callers_transaction(queue):
            # With DEBUG on, a connection remembers its last 9,000 queries.
            queue.queries_log.clear()
        # While there is more than enough to do, the lanes need not be read for each claim.
        recent = BATCH_SECONDS if self._was_full else 0.0
        self._answer_is_missing = True
        rows = all_rows().claim(self._worker, limit, self._filters, recent, removal)
        self._was_full = len(rows) == limit
        return rows

    def _release_unknown(self) -> None:
        # The connection may have been lost between the commit of the last claim and its answer: then this
        # worker holds rows that it does not know of, and would hold them for as long as it lives. Other
        # threads know theirs: they claimed before this one had its turn.
        held = all_rows().running().filter(locked_by=self._worker)
        if others := [slot.claimed for slot in self._activity.slots if slot is not self._slot]:
            held = held.exclude(lock_token__in=others)
        all_rows().release(held.only("locked_by", "lock_token"))
