"""The loop: claim, perform, settle, wait."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from ..conf import settings
from ..databases import Filters
from ..execution import perform, settle
from ..models import DelayedJob
from ..outcomes import Outcome
from ..signals import worker_started, worker_stopped
from ..states import DelayedJobQuerySet
from .activity import Activity
from .pace import Pace
from .patience import patiently
from .reload import CodeWatch
from .shutdown import Shutdown
from .wakeup import Wakeup

logger = logging.getLogger("django_delayed")

GIVE_BACK_AFTER = timedelta(milliseconds=100)  # in one job: then what was claimed with it goes back
RELOAD_EVERY = 100  # jobs, as delayed_job's README has it


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
    """Claims and performs, in the thread that calls `run`, until it is told to stop or has nothing more to do.

    With `work_off`, or a sleep delay of 0, it ends when nothing is ready; else it waits. With `code`, it ends when a
    file of the code has changed: after 100 jobs, or when the queue is empty.
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

    def run(self) -> bool:
        """Work. Returns True when it ended because the code has changed."""
        worker_started.send_robust(sender=None, worker=self.id)
        try:
            while not self.shutdown.requested:
                if self.since_reload >= RELOAD_EVERY and self._code_has_changed():
                    return True
                if batch := self._claim():
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

    # Claim

    def _claim(self) -> list[DelayedJob]:
        limit = self.pace.size
        if self.code:
            limit = max(1, min(limit, RELOAD_EVERY - self.since_reload))
        filters = self.configuration.filters
        return patiently(lambda: self._jobs.claim(self.id, limit, filters), self.wakeup)

    # Perform

    def _perform_batch(self, batch: list[DelayedJob]) -> None:
        # One that has crashed a worker before comes last, so that it takes none of the others with it.
        batch.sort(key=lambda row: row.crashes > 0)
        began = time.monotonic()
        for number, row in enumerate(batch, 1):
            rest = batch[number:]
            age = self._perform(row, others=len(rest))
            if rest and (self.shutdown.requested or age >= GIVE_BACK_AFTER):
                # Whoever watches us may have given the rest back already, so it is not ours to perform.
                self._give_back(rest)
                break
        self.since_reload += number
        self.pace.keep(number, time.monotonic() - began)

    def _perform(self, row: DelayedJob, others: int) -> timedelta:
        self.activity.begin(row.pk, others, settings.MAX_RUN_TIME)
        outcome = perform(row, loaded=lambda job: self.activity.limit_to(job.run_time))
        age = self.activity.end()
        settled = patiently(lambda: settle(row, outcome), self.wakeup)
        if settled and self.on_settled:
            self.on_settled(outcome)
        return age

    def _give_back(self, rows: list[DelayedJob]) -> None:
        patiently(lambda: self._jobs.release(rows), self.wakeup)

    # Wait

    def _is_one_due(self) -> bool:
        due_in = patiently(lambda: self._jobs.next_due(self.configuration.filters), self.wakeup)
        return due_in is not None and due_in <= 0

    def _wait(self) -> None:
        due_in = patiently(lambda: self._jobs.next_due(self.configuration.filters), self.wakeup)
        delay = self.configuration.sleep_delay.total_seconds()
        if due_in is not None:
            # A row that is due and not claimable for us is in the hands of another worker at this moment.
            delay = min(delay, max(due_in, 0.01))
        logger.debug("Sleeping for %.1f seconds", delay)
        self.wakeup.wait(delay)

    def _code_has_changed(self) -> bool:
        self.since_reload = 0
        return self.code is not None and self.code.has_changed()
