"""The row of a worker and its heartbeat, and the thread that sends it where there is no supervisor."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import IntegrityError, connections

from ..conf import settings
from ..databases import DatabaseNow
from ..execution.deaths import decide_after_kill
from ..models import Verb, WorkerProcess, WorkerRequest, hostname
from ..reports import reporting
from .activity import Activity
from .availability import PeriodicTask
from .batch_watch import BatchWatch
from .cancelling import CancelledJobs, Decide
from .clock import since_boot
from .configuration import Configuration
from .recovery import release_and_exit
from .requests import READ_EVERY, read_requests
from .roll_up import ROLL_UP_EVERY, RollUp
from .shutdown import Shutdown
from .slot import Current

logger = logging.getLogger("django_delayed")

# Seconds between two looks at the activity of a worker, at most and at least.
TICK, SHORTEST_TICK = 0.1, 0.01


def heartbeat_interval() -> timedelta:
    """The time between two heartbeats: a sixth of a lease, 10 s by default."""
    return settings.LEASE / 6


def register(worker: str, configuration: Configuration, quiet: bool = False) -> None:
    """Write the row of a worker. To be called before it claims: a holder without a row counts as dead."""
    filters = configuration.filters
    workers = WorkerProcess.objects.using(settings.DATABASE)
    try:
        workers.create(
            id=worker,
            name=configuration.name,
            hostname=hostname(),
            pid=os.getpid(),
            queues=",".join(filters.queues),
            min_priority=filters.min_priority,
            max_priority=filters.max_priority,
            started_at=DatabaseNow(),
            heartbeat_at=DatabaseNow(),
            quiet=quiet,
        )
    except IntegrityError:
        # The id is random: the row is there because the answer to an earlier INSERT was lost on its way.
        if not workers.filter(pk=worker).exists():
            raise


def send_heartbeat(worker: str, pid: int, activity: Activity) -> bool:
    """Record that the worker is alive, as the process of this pid. False if it was declared dead."""
    now = since_boot()
    workers = WorkerProcess.objects.using(settings.DATABASE).filter(pk=worker)
    if not workers.update(heartbeat_at=DatabaseNow(), pid=pid, **_what_it_does(activity)):
        return False
    activity.heartbeat(now)
    return True


def _what_it_does(activity: Activity) -> dict[str, Any]:
    """The columns of a worker's row that say whether it is quiet, what it performs, and what it has done."""
    currents = [slot.current() for slot in activity.slots]
    tally = activity.tally
    return {
        "quiet": activity.is_quiet,
        "processed": tally.processed,
        "failed": tally.failed,
        "slots": json.dumps([current and [current.id, current.age.total_seconds()] for current in currents]),
    }


class HeartbeatThread(threading.Thread):
    """Does what a supervisor does, for a worker without one, as far as a thread can.

    It sends the heartbeats, carries out what operators ask, and ends a stop that takes too long. When a job
    has switched off the alarm that ends it at its max_run_time, it ends the process. A job that holds the GIL
    keeps this thread from running.
    """

    def __init__(self, worker: str, activity: Activity, shutdown: Shutdown) -> None:
        super().__init__(name="django_delayed heartbeat", daemon=True)
        self._worker = worker
        self._activity = activity
        # A worker without a supervisor has one slot.
        [self._slot] = activity.slots
        self._cancelled = CancelledJobs(activity.slots)
        self._shutdown = shutdown
        self._batch = BatchWatch(worker, self._slot)
        self._watch = PeriodicTask(self._batch.release, timedelta(0))
        self._heartbeat = PeriodicTask(self._send, heartbeat_interval())
        self._requests = PeriodicTask(partial(read_requests, [worker], self._carry_out), READ_EVERY)
        self.roll_up = RollUp(worker, activity)
        self._roll_ups = PeriodicTask(self.roll_up.write_if_due, ROLL_UP_EVERY)
        self._insist_at: float | None = None  # on the monotonic clock, once a stop is requested
        self._ended = threading.Event()

    def run(self) -> None:
        """Work until `stop`."""
        with reporting():
            self._work()
        connections.close_all()

    def _work(self) -> None:
        while not self._ended.wait(max(SHORTEST_TICK, min(TICK, self._batch.due_in))):
            self._watch.run_if_due()
            self._heartbeat.run_if_due()
            self._requests.run_if_due()
            self._roll_ups.run_if_due()
            self._end_if_overdue()
            self._insist_in_time()

    def stop(self) -> None:
        """End the thread and close its connection."""
        self._ended.set()
        self.join()

    def _insist_in_time(self) -> None:
        if not self._shutdown.requested:
            return
        if self._insist_at is None:
            self._insist_at = time.monotonic() + settings.SHUTDOWN_TIMEOUT.total_seconds()
        elif time.monotonic() > self._insist_at:
            self._shutdown.insist()

    def _end_if_overdue(self) -> None:
        for job in self._cancelled.overdue():
            logger.warning("Job %s was asked to end and does not; ending the process", job.id)
            self._release_and_exit(job, self._cancelled.decision(None))
        current = self._slot.current()
        if current is None or not current.is_overdue:
            return
        # Only a warning: the failure of the job will be logged as an error.
        logger.warning(
            "Job %s has outlived its max_run_time and does not end; ending the process", current.id
        )
        self._release_and_exit(current, partial(decide_after_kill, limit=current.limit or timedelta(0)))

    def _release_and_exit(self, current: Current, decide: Decide | None) -> None:
        release_and_exit(self._worker, [current.id], decide, self._activity.unsettled())

    def _carry_out(self, request: WorkerRequest) -> None:
        if request.verb == Verb.STOP:
            self._shutdown.request()
        elif request.verb == Verb.CANCEL:
            self._cancelled.ask(request)
        elif request.verb in (Verb.QUIET, Verb.RESUME):
            self._activity.be_quiet(request.verb == Verb.QUIET)
            self._send()

    def _send(self) -> None:
        if not send_heartbeat(self._worker, os.getpid(), self._activity):
            # Declared dead: the claims of this worker are lost.
            self._shutdown.request()
