"""The loop: claim, perform, settle, wait."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from ..conf import settings
from ..databases import Filters
from ..execution import perform, settle
from ..housekeeping import drop_broken, own_connections
from ..models import DelayedJob
from ..outcomes import Outcome
from ..signals import worker_started, worker_stopped
from ..states import DelayedJobQuerySet
from .activity import Activity
from .pace import Pace
from .patience import AWAY, LONGEST_PAUSE, patiently
from .reload import CodeWatch
from .shutdown import Shutdown
from .wakeup import Wakeup

T = TypeVar("T")

logger = logging.getLogger("django_delayed")

GIVE_BACK_AFTER = timedelta(milliseconds=100)  # in one job: then what was claimed with it goes back
RELOAD_EVERY = 100  # jobs, as delayed_job's README has it
SHORTEST_SLEEP = 0.01  # seconds


def new_worker_id() -> str:
    """A random id: one that came again would take over the jobs of the dead."""
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Configuration:
    """What a worker serves and how: its filters, how long it sleeps, how many rows it claims at most."""

    filters: Filters = Filters()
    sleep_delay: timedelta = timedelta(seconds=5)
    read_ahead: int = 100


class Worker:
    """Claims and performs, in the thread that calls `run`, until it is told to stop or has no more to do.

    With `work_off`, or a sleep delay of 0, it ends when nothing is ready; else it waits. With `code`, it ends
    when a file of the code has changed: after 100 jobs, or when the queue is empty.
    """

    def __init__(
        self,
        id: str,
        configuration: Configuration,
        wakeup: Wakeup,
        shutdown: Shutdown,
        activity: Activity,
        work_off: bool = False,
        code: CodeWatch | None = None,
        on_settled: Callable[[Outcome], None] | None = None,
    ) -> None:
        self.id = id
        self.configuration = configuration
        self.wakeup = wakeup
        self.shutdown = shutdown
        self.activity = activity
        self.ends_when_empty = work_off or not configuration.sleep_delay
        self.code = code
        self.on_settled = on_settled
        self.pace = Pace(configuration.read_ahead)
        self.since_reload = 0
        self._in_vain = 0  # looks at a row that is due and cannot be had

    def run(self) -> bool:
        """Work. Returns True when it ended because the code has changed."""
        worker_started.send_robust(sender=None, worker=self.id)
        try:
            while not self.shutdown.requested:
                if self.since_reload >= RELOAD_EVERY and self._code_has_changed():
                    return True
                if batch := self._until_stopped(self._claim):
                    self._perform_batch(batch)
                elif self.ends_when_empty and not self._is_one_due():
                    return False
                else:
                    self._wait()
                    if self._code_has_changed():
                        return True
            return False
        finally:
            worker_stopped.send_robust(sender=None, worker=self.id)

    @property
    def _jobs(self) -> DelayedJobQuerySet:
        return DelayedJob.objects.using(settings.DATABASE)

    def _until_stopped(self, operation: Callable[[], T]) -> T | None:
        """The operation's result; None when the database is away and a stop is asked for."""
        try:
            return patiently(operation, self.wakeup, give_up=lambda: self.shutdown.requested)
        except AWAY:
            if not self.shutdown.requested:
                raise
            return None

    # Claim

    def _claim(self) -> list[DelayedJob]:
        # Nobody beats for us: soon others may take us for dead, and give away what we claim now.
        while self.activity.is_silent(settings.LEASE / 2) and not self.shutdown.requested:
            self.wakeup.wait(SHORTEST_SLEEP * 10)
        if self.shutdown.requested:
            return []
        limit = self.pace.size
        if self.code:
            limit = max(1, min(limit, RELOAD_EVERY - self.since_reload))
        return self._jobs.claim(self.id, limit, self.configuration.filters)

    # Perform

    def _perform_batch(self, batch: list[DelayedJob]) -> None:
        self._in_vain = 0
        # One that has crashed a worker before comes last, and alone: it takes none of the others with it.
        batch.sort(key=lambda row: row.crashes > 0)
        began = time.monotonic()
        for number, row in enumerate(batch, 1):
            rest = batch[number:]
            if rest and row.crashes:
                self._give_back(rest)
                rest = []
            self._perform(row)
            # Whoever watches us gives the rest back after so long: then it is not ours to perform.
            took_long = time.monotonic() - began >= GIVE_BACK_AFTER.total_seconds()
            if rest and (took_long or self.shutdown.requested):
                self._give_back(rest)
                rest = []
            if not rest:
                break
        self.since_reload += number
        self.pace.keep(number, time.monotonic() - began)

    def _perform(self, row: DelayedJob) -> None:
        self.activity.begin(row.pk, settings.MAX_RUN_TIME)
        outcome = perform(row, loaded=lambda job: self.activity.limit_to(job.run_time))
        self.activity.settle()
        settled = self._settle(row, outcome)
        self.activity.end()
        if settled and self.on_settled:
            self.on_settled(outcome)

    def _settle(self, row: DelayedJob, outcome: Outcome) -> bool:
        try:
            return patiently(lambda: settle(row, outcome), self.wakeup, give_up=lambda: self.shutdown.at_once)
        except AWAY:
            if not self.shutdown.at_once:
                raise
            logger.error("%s: the database is away, and what came of it is lost; it will run again", row)
            return False

    def _give_back(self, rows: list[DelayedJob]) -> None:
        self._until_stopped(lambda: self._jobs.release(rows))

    # Wait

    def _due_in(self) -> float | None:
        return self._until_stopped(lambda: self._jobs.next_due(self.configuration.filters))

    def _is_one_due(self) -> bool:
        due_in = self._due_in()
        return due_in is not None and due_in <= 0

    def _wait(self) -> None:
        due_in = self._due_in()
        delay = self.configuration.sleep_delay.total_seconds() or LONGEST_PAUSE
        if due_in is not None:
            # Due and not to be had: it is in the hands of a worker for a moment, or of a transaction.
            self._in_vain = self._in_vain + 1 if due_in <= 0 else 0
            delay = min(delay, max(due_in, SHORTEST_SLEEP * 2 ** min(self._in_vain, 20)))
        logger.debug("Sleeping for %.1f seconds", delay)
        self.wakeup.wait(delay)
        drop_broken(own_connections())

    def _code_has_changed(self) -> bool:
        self.since_reload = 0
        return self.code is not None and self.code.has_changed()
