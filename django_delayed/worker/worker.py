"""The loop of a worker, or of one thread of it: claim, perform, settle, wait.

Rows that were claimed and not begun are released

- by the worker, before a job that has crashed a worker before, after 20 ms of work, when it is told to stop,
  and before it claims again after an error in a claim;
- by its supervisor (in `jobs_workoff`: by the heartbeat thread), while the worker has been in one job of a
  batch for 100 ms;
- by its supervisor, when its process has ended, or has held them for a lease without knowing them; by any
  supervisor, when its heartbeat is a lease old.

Before each of these, what was performed of the batch is settled: it is in the ledger of the slot. Only the
release by any supervisor is an exception: only processes of the same host can read the ledger.

Each release is guarded by the token of the claim, so a row is released once, and its former worker cannot
settle it.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from django.db import connections
from django.dispatch import Signal

from ..conf import settings
from ..execution.outcomes import Outcome
from ..execution.session import Session
from ..models import DelayedJob, all_rows
from ..serialization.providers import import_all
from ..signals import queue_empty, worker_started, worker_stopped
from .activity import Activity
from .batch_size import BATCH_SECONDS, BatchSize, ShortJobs
from .claims import Claims
from .configuration import DONE, Configuration
from .ending import Ending
from .performing import performing_of
from .quiet import wait_until_resumed
from .settling import Settling
from .shutdown import Shutdown
from .slot import Slot
from .statements import Statements
from .turns import Turns
from .waiting import Waiting
from .wakeup import Wakeup

logger = logging.getLogger("django_delayed")

# Seconds that a thread waits for its turn before it closes its connections.
ENOUGH_OTHERS_AFTER = 1.0


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
        *,
        ending: Ending | None = None,
        turns: Turns | None = None,
        slot: Slot | None = None,
        on_settled: Callable[[Outcome], None] | None = None,
    ) -> None:
        """The threads of a worker share all but `wakeup` and `slot`."""
        self.id = id
        self.configuration = configuration
        self.wakeup = wakeup
        self.shutdown = shutdown
        self.activity = activity
        self.slot = slot or activity.slots[0]
        # Called when it finds work after it was idle.
        self.on_work: Callable[[], object] = lambda: None
        self.batch_size = BatchSize(configuration.read_ahead)
        self.session = Session()
        self._performing = performing_of(configuration, activity, self.slot, self.session, wakeup, shutdown)
        statements = Statements(self.slot, wakeup, shutdown)
        self.settling = Settling(self.slot, self._performing, statements, wakeup, shutdown, on_settled)
        self._short_jobs = ShortJobs()
        self._ask, self._until_stopped = statements.ask, statements.until_stopped
        self.gives_up = statements.gives_up
        self._claims = Claims(
            id, configuration, activity, self.slot, self.settling, statements, wakeup, shutdown
        )
        # Whether there are other threads, which take turns with this one.
        self._has_others = turns is not None
        self._turns = turns or Turns()
        on_empty = self._tell_of_empty_queue
        self._waiting = Waiting(configuration, statements, wakeup, shutdown, activity, self._turns, on_empty)
        self._ending = ending or Ending(configuration, None)

    def run(self) -> int:
        """Work. Returns the exit code, which says why it has ended: DONE, or that of `Ending`."""
        import_all()
        tell(self.session, worker_started, self.id, process=self.configuration.process())
        self._performing.begin()
        try:
            return self.work()
        finally:
            tell(self.session, worker_stopped, self.id)
            self._performing.end()

    def work(self) -> int:
        """As `run`, for one thread of a worker: the worker itself announces its start and its end."""
        while not self.shutdown.requested:
            self._take_turn()
            try:
                code = None
                # A thread that finds nothing keeps its turn: the next one would have to open its connections.
                while code is None and self._turns.is_mine and not self.shutdown.requested:
                    code = self._work_in_turn()
                self.settling.settle()
            finally:
                self._turns.come_back()
            if code is not None:
                return code
        return DONE

    def _take_turn(self) -> None:
        if self._turns.take(ENOUGH_OTHERS_AFTER):
            return
        # The other threads can do the present work, and an idle worker has one connection.
        self.session.close()
        connections[settings.DATABASE].close()
        self._turns.take()

    def _work_in_turn(self) -> int | None:
        """Claim and perform, or wait. Returns the exit code when the worker is to end."""
        if (code := self._ending.exit_code()) is not None:
            return code
        if self.activity.is_quiet:
            self.settling.settle()
            self.session.close()
            wait_until_resumed(self.id, self.activity, self.wakeup, self.shutdown)
        elif batch := self._until_stopped(self._claim):
            self._perform_batch(batch)
        elif not self.configuration.sleep_delay and not self._waiting.is_one_due():
            return DONE
        else:
            # An idle worker has one connection, the queue's.
            self.session.close()
            self._waiting.wait()
            self._ending.was_idle()
        return None

    def _tell_of_empty_queue(self) -> None:
        tell(self.session, queue_empty, self.id)
        self.session.close()

    def _claim(self) -> list[DelayedJob]:
        rows = self._claims.take(self._ending.limit(self.batch_size.size))
        self._ending.claimed(len(rows))
        return rows

    # Perform

    def _perform_batch(self, batch: list[DelayedJob]) -> None:
        """Perform these, or as many as there is time for, and release the others.

        No job is begun once a stop is requested. That may be while receivers are told of what the claim has
        settled. What is not settled here is settled by the next claim, or at the end of the turn.
        """
        self._waiting.has_claimed()
        if not self.activity.is_working:
            self.activity.begin_work()
            self.on_work()
        # Rows that run alone come last, when the others are settled.
        waiting = deque(sorted(batch, key=lambda row: row.runs_alone))
        if self._has_others and not waiting[-1].runs_alone:
            self._turns.pass_on()
        performed, began = 0, time.monotonic()
        while waiting and not self._claims_no_more():
            row = waiting.popleft()
            if row.runs_alone:
                self._release(waiting)
                if not self._turns.wait_until_alone(self._claims_no_more):
                    waiting.append(row)
                    break
            self._perform(row)
            performed += 1
            if time.monotonic() - began >= BATCH_SECONDS:
                break
        if waiting:
            self._release(waiting)
        seconds = time.monotonic() - began
        self._ending.performed(performed, of=len(batch))
        self.batch_size.learn(performed, seconds)

    def _claims_no_more(self) -> bool:
        return self.shutdown.requested or self.activity.is_quiet

    def _perform(self, row: DelayedJob) -> None:
        if row.name not in self._short_jobs:
            # Otherwise those before it would be announced only when it has ended.
            self.settling.settle()
        began = time.monotonic()
        self.slot.begin(row.pk, settings.MAX_RUN_TIME)
        outcome = self._performing.perform(row)
        self.slot.performed()
        self._short_jobs.learn(row.name, time.monotonic() - began)
        self.settling.add(row, outcome)
        self._performing.end_job(row)

    def _release(self, waiting: deque[DelayedJob]) -> None:
        self.settling.settle()
        if waiting:
            self._until_stopped(lambda: self._ask(lambda: all_rows().release(waiting)))
            waiting.clear()


def tell(session: Session, signal: Signal, worker: str, **what: Any) -> None:
    """Send a signal about the worker of this id, to receivers that may use the session."""
    with session:
        signal.send_robust(sender=None, worker=worker, **what)
