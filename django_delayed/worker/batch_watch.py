"""Watches the batch of a slot from outside: a long job does not hold up what was claimed with it."""

from __future__ import annotations

import math
from datetime import timedelta
from functools import partial

from django.db import connections, transaction

from ..conf import settings
from ..databases import database
from ..models import all_rows
from .ledger import Unsettled
from .recovery import settle_performed
from .slot import Current, Slot

# After this long in one job, what was claimed together with it is released.
RELEASE_AFTER = timedelta(milliseconds=100)


class BatchWatch:
    """Notes that a job of a slot's batch has begun, and releases the rest of it when the job is long.

    So jobs of a millisecond need no statement to say that they have begun, and yet the row of the job that
    crashed a worker has its `started_at`. The worker itself begins no other job of the batch after a long
    one, so none is performed that is released here.
    """

    def __init__(self, worker: str, slot: Slot) -> None:
        self.worker = worker
        self.slot = slot
        self._seen: tuple[int, int] | None = None

    def long_job(self) -> Current | None:
        """The current job if it has become long and is not noted yet."""
        current = self.slot.current()
        if current is None:
            self._seen = None
        elif current.key != self._seen and current.age >= RELEASE_AFTER:
            return current
        return None

    @property
    def due_in(self) -> float:
        """Seconds until the current job becomes long; 0 if it has, and infinite if there is nothing to do."""
        current = self.slot.current()
        if current is None or current.key == self._seen:
            return math.inf
        return max((RELEASE_AFTER - current.age).total_seconds(), 0)

    def release(self) -> None:
        """If there is a long job: settle those before it, note it, and release the rest of its batch."""
        if job := self.long_job():
            unsettled = self.slot.unsettled()
            if unsettled.token == job.token:
                if unsettled.ids:
                    self.slot.ledger.settles_too(job.token)
                write = partial(self._write, job, unsettled)
                database(connections[settings.DATABASE]).repeat_on_conflict(write)
            self._seen = job.key

    def _write(self, job: Current, unsettled: Unsettled) -> None:
        with transaction.atomic(using=settings.DATABASE):
            settle_performed(self.worker, [unsettled])
            all_rows().release_unstarted(self.worker, job.token, job.id, job.age)
