"""The loop of a worker: claim, perform, settle, wait.

Rows that were claimed and not begun are released

- by the worker, before a job that has crashed a worker before, after 100 ms of work, when it is told to stop,
  and before it claims again after an error in a claim;
- by its supervisor (in `jobs_workoff`: by the heartbeat thread), while the worker has been in one job of a
  batch for 100 ms;
- by its supervisor, when its process has ended, or has held them for a lease without knowing them; by any
  supervisor, when its heartbeat is a lease old.

Each release is guarded by the token of the claim, so a row is released once, and a worker whose rows were
released settles none of them.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from django.db import Error, connections
from django.dispatch import Signal

from ..conf import settings
from ..databases import in_callers_transaction
from ..databases.sessions import close_old
from ..execution.outcomes import Outcome
from ..execution.perform import perform
from ..execution.session import Session
from ..execution.settle import announce, write_outcomes
from ..models import DelayedJob, all_rows
from ..signals import fields_of, queue_empty, worker_started, worker_stopped
from .activity import Activity
from .availability import LONGEST_PAUSE, UNAVAILABLE, is_permanent, repeat_while_unavailable
from .batch_size import BatchSize
from .configuration import DONE, Configuration
from .ending import Ending
from .heartbeat import RELEASE_AFTER
from .idle import Idle
from .reload import CodeWatch
from .shutdown import Shutdown
from .wakeup import Wakeup

T = TypeVar("T")

logger = logging.getLogger("django_delayed")

SHORTEST_SLEEP = 0.01  # seconds


class Worker:
    """Claims and performs, in the thread that calls `run`, until it is told to stop.

    With a sleep delay of 0 it ends when nothing is ready, and between two batches when `Ending` says so.
    """

    def __init__(
        self,
        id: str,
        configuration: Configuration,
        wakeup: Wakeup,
        shutdown: Shutdown,
        activity: Activity,
        code: CodeWatch | None = None,
        on_settled: Callable[[Outcome], None] | None = None,
    ) -> None:
        self.id = id
        self.configuration = configuration
        self.wakeup = wakeup
        self.shutdown = shutdown
        self.activity = activity
        self.on_settled = on_settled
        self.batch_size = BatchSize(configuration.read_ahead)
        self.session = Session()
        self._idle = Idle(wakeup, shutdown, self._ask, self._is_one_due)
        self._ending = Ending(configuration, code)
        self._empty_claims = 0  # in a row, although a row was due
        self._answer_is_missing = False  # that of the last claim
        self._is_working = False  # since it was idle

    def run(self) -> int:
        """Work. Returns the exit code, which says why it has ended: DONE, or that of `Ending`."""
        self._tell(worker_started, process=self.configuration.process())
        try:
            while not self.shutdown.requested:
                if (code := self._ending.exit_code()) is not None:
                    return code
                if batch := self._until_stopped(self._claim):
                    self._perform_batch(batch)
                elif not self.configuration.sleep_delay and not self._is_one_due():
                    return DONE
                else:
                    self._wait()
                    self._ending.was_idle()
            return DONE
        finally:
            self._tell(worker_stopped)
            self.session.close()

    def _tell(self, signal: Signal, **what: Any) -> None:
        with self.session:
            signal.send_robust(sender=None, worker=self.id, **what)

    def gives_up(self, error: Error) -> bool:
        """Whether to repeat no statement after this error: a stop is requested, or the error will stay."""
        return self.shutdown.requested or is_permanent(error)

    def _until_stopped(self, operation: Callable[[], T]) -> T | None:
        """The operation's result; None if a stop is requested while the database is unavailable."""
        try:
            return repeat_while_unavailable(operation, self.wakeup, self.gives_up)
        except UNAVAILABLE:
            if not self.shutdown.requested:
                raise
            return None

    def _ask(self, statement: Callable[[], T]) -> T:
        """The result of a statement of the worker's own or of receivers; the supervisor watches how long."""
        self.activity.begin_statement()
        try:
            return statement()
        finally:
            self.activity.end_statement()

    # Claim

    def _claim(self) -> list[DelayedJob]:
        # The supervisor sends no heartbeats. Others may soon declare this worker dead, and what it claimed
        # and performed then would be performed again.
        while self.activity.is_stale(settings.LEASE / 2) and not self.shutdown.requested:
            self.wakeup.wait(SHORTEST_SLEEP * 10)
        if self.shutdown.requested:
            return []
        if self._answer_is_missing:
            # The connection may have been lost between the commit of the last claim and its answer: then this
            # worker holds rows that it does not know of, and would hold them for as long as it lives.
            held = all_rows().running().filter(locked_by=self.id)
            self._ask(lambda: all_rows().release(held.only("locked_by", "lock_token")))
        queue = connections[settings.DATABASE]
        close_old(queue)
        if not in_callers_transaction(queue):
            # With DEBUG on, a connection remembers its last 9,000.
            queue.queries_log.clear()
        limit = self._ending.limit(self.batch_size.size)
        self._answer_is_missing = True
        rows = self._ask(lambda: all_rows().claim(self.id, limit, self.configuration.filters))
        self._answer_is_missing = False
        if rows:
            self.activity.claim(rows[0].lock_token)
        return rows

    # Perform

    def _perform_batch(self, batch: list[DelayedJob]) -> None:
        self._empty_claims, self._is_working = 0, True
        # Those that have crashed a worker before come last, when the others are settled.
        waiting = deque(sorted(batch, key=lambda row: row.crashes > 0))
        performed = 0
        began = time.monotonic()
        while waiting:
            row = waiting.popleft()
            if row.crashes:
                self._release(waiting)
            self._perform(row)
            performed += 1
            if self.shutdown.requested or time.monotonic() - began >= RELEASE_AFTER.total_seconds():
                self._release(waiting)
        self._ending.performed(performed)
        self.batch_size.learn(performed, time.monotonic() - began)

    def _perform(self, row: DelayedJob) -> None:
        self.activity.begin(row.pk, settings.MAX_RUN_TIME)
        outcome = perform(row, self.session, on_load=lambda job: self.activity.limit_to(job.run_time))
        self.activity.performed()
        settled = self._settle(row, outcome)
        self.activity.end()
        if settled and self.on_settled:
            self.on_settled(outcome)

    def _settle(self, row: DelayedJob, outcome: Outcome) -> bool:
        written = self._write(row, outcome)
        if written:
            self._ask(lambda: announce([(row, outcome)], self.session))
        return written

    def _write(self, row: DelayedJob, outcome: Outcome) -> bool:
        try:
            return not repeat_while_unavailable(
                lambda: self._ask(lambda: write_outcomes([(row, outcome)])),
                self.wakeup,
                # Nor after a permanent error: the job would be performed again.
                give_up=lambda error: self.shutdown.immediate,
            )
        except Error:
            if not self.shutdown.immediate:
                raise
            logger.error(
                "%s: the database is unavailable and its outcome is lost; it will run again",
                row,
                extra=fields_of(row),
            )
            return False

    def _release(self, waiting: deque[DelayedJob]) -> None:
        if waiting:
            self._until_stopped(lambda: self._ask(lambda: all_rows().release(waiting)))
            waiting.clear()

    # Wait

    def _due_in(self) -> float | None:
        filters = self.configuration.filters
        due_in = self._until_stopped(lambda: self._ask(lambda: all_rows().next_due(filters)))
        if self._is_working and not self.shutdown.requested and (due_in is None or due_in > 0):
            self._is_working = False
            self._ask(lambda: self._tell(queue_empty))
        return due_in

    def _is_one_due(self) -> bool:
        due_in = self._due_in()
        return due_in is not None and due_in <= 0

    def _wait(self) -> None:
        due_in = self._due_in()
        delay = self.configuration.sleep_delay.total_seconds() or LONGEST_PAUSE
        if due_in is not None:
            # The row is due but locked by another worker or transaction; back off before looking again.
            self._empty_claims = self._empty_claims + 1 if due_in <= 0 else 0
            delay = min(delay, max(due_in, SHORTEST_SLEEP * 2 ** min(self._empty_claims, 20)))
        logger.debug("Sleeping for %.1f seconds", delay)
        # An idle worker has one connection, the queue's.
        self.session.close()
        if self.configuration.sleep_delay:
            self._idle.sleep(delay, is_one_due=due_in is not None and due_in <= 0)
        else:
            self.wakeup.wait(delay)
