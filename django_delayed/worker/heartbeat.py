"""The row of a worker and its heartbeat; and the watch that releases what was claimed with a long job."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from datetime import timedelta
from functools import partial

from django.db import IntegrityError, connections

from ..conf import settings
from ..databases import DatabaseNow
from ..execution.outcomes import decide_after_kill
from ..models import WorkerProcess, all_rows
from ..reports import reporting
from .activity import Activity, Current
from .availability import PeriodicTask
from .configuration import Configuration
from .recovery import release_and_exit
from .shutdown import Shutdown

logger = logging.getLogger("django_delayed")

# Seconds between two looks at the activity of a worker.
TICK = 0.1
# After this long in one job, what was claimed together with it is released.
RELEASE_AFTER = timedelta(milliseconds=100)


def heartbeat_interval() -> timedelta:
    """How often a heartbeat is sent: six times a lease, every 10 s by default."""
    return settings.LEASE / 6


def register(worker: str, configuration: Configuration) -> None:
    """Write the row of a worker. To be called before it claims: a holder without a row counts as dead."""
    filters = configuration.filters
    workers = WorkerProcess.objects.using(settings.DATABASE)
    try:
        workers.create(
            id=worker,
            hostname=socket.gethostname()[:255],
            pid=os.getpid(),
            queues=",".join(filters.queues),
            min_priority=filters.min_priority,
            max_priority=filters.max_priority,
            started_at=DatabaseNow(),
            heartbeat_at=DatabaseNow(),
        )
    except IntegrityError:
        # The id is random: the row is there because the answer to an earlier INSERT was lost on its way.
        if not workers.filter(pk=worker).exists():
            raise


def send_heartbeat(worker: str, pid: int, activity: Activity) -> bool:
    """Record that the worker is alive, as the process of this pid. False if it was declared dead."""
    now = time.time()
    workers = WorkerProcess.objects.using(settings.DATABASE).filter(pk=worker)
    if not workers.update(heartbeat_at=DatabaseNow(), pid=pid):
        return False
    activity.heartbeat(now)
    return True


class BatchWatch:
    """Notes that a job of a batch has begun, and releases the rest of the batch when the job is long.

    So jobs of a millisecond need no statement to say that they have begun, and yet the row of the job that
    crashed a worker has its `started_at`.
    """

    def __init__(self, worker: str, activity: Activity) -> None:
        self.worker = worker
        self.activity = activity
        self._seen: int | None = None

    def long_job(self) -> Current | None:
        """The current job if it has become long and is not noted yet; to be asked several times a second."""
        current = self.activity.current()
        if current is None:
            self._seen = None
        elif current.id != self._seen and current.age >= RELEASE_AFTER:
            return current
        return None

    def release(self) -> None:
        """If there is a long job still, note it and release the rest of its batch."""
        if job := self.long_job():
            all_rows().release_unstarted(self.worker, job.id, job.age)
            self._seen = job.id


class HeartbeatThread(threading.Thread):
    """Does for a worker without a supervisor what a thread of its process can do.

    It sends the heartbeats, and ends a stop that takes too long. When a job has switched off the alarm that
    ends it at its max_run_time, it ends the process. A job that holds the GIL keeps this thread from running.
    """

    def __init__(self, worker: str, activity: Activity, shutdown: Shutdown) -> None:
        super().__init__(name="django_delayed heartbeat", daemon=True)
        self._worker = worker
        self._activity = activity
        self._shutdown = shutdown
        self._watch = PeriodicTask(BatchWatch(worker, activity).release, timedelta(0))
        self._heartbeat = PeriodicTask(self._send, heartbeat_interval())
        self._ended = threading.Event()

    def run(self) -> None:
        """Work until `stop`."""
        with reporting():
            self._work()
        connections.close_all()

    def _work(self) -> None:
        time_left = settings.SHUTDOWN_TIMEOUT.total_seconds()
        while not self._ended.wait(TICK):
            self._watch.run_if_due()
            self._heartbeat.run_if_due()
            self._end_if_overdue()
            if self._shutdown.requested and (time_left := time_left - TICK) < 0:
                self._shutdown.insist()

    def stop(self) -> None:
        """End the thread and close its connection."""
        self._ended.set()
        self.join()

    def _end_if_overdue(self) -> None:
        current = self._activity.current()
        if current is None or not current.is_overdue:
            return
        # No error: the failure of the job will be one.
        logger.warning(
            "Job %s has outlived its max_run_time and does not end; ending the process", current.id
        )
        decide = partial(decide_after_kill, limit=current.limit or timedelta(0))
        release_and_exit(self._worker, current.id, decide)

    def _send(self) -> None:
        if not send_heartbeat(self._worker, os.getpid(), self._activity):
            # Declared dead: the claims of this worker are lost.
            self._shutdown.request()
