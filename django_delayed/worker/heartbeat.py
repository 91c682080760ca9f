"""I am alive: the row of a worker, and its beat."""

from __future__ import annotations

import os
import socket
import threading
import time
from datetime import timedelta

from django.db import connections

from ..conf import settings
from ..databases.clock import DatabaseNow
from ..models import DelayedJob, WorkerProcess
from .activity import Activity
from .chores import Chore
from .shutdown import Shutdown
from .worker import GIVE_BACK_AFTER, Configuration

TICK = 0.1  # seconds between two looks at what a worker is doing


def beat_interval() -> timedelta:
    """How often a worker says that it is alive: six times a lease, each 10 s by default."""
    return settings.LEASE / 6


def register(worker: str, configuration: Configuration) -> None:
    """Write the row of a worker; before it claims, for a holder without one counts as dead."""
    filters = configuration.filters
    WorkerProcess.objects.using(settings.DATABASE).create(
        id=worker,
        hostname=socket.gethostname()[:255],
        pid=os.getpid(),
        queues=",".join(filters.queues),
        min_priority=filters.min_priority,
        max_priority=filters.max_priority,
        started_at=DatabaseNow(),
        beat_at=DatabaseNow(),
    )


def beat(worker: str, pid: int, activity: Activity) -> bool:
    """Say that the worker is alive, as the process of this pid; False when it was declared dead meanwhile."""
    now = time.time()
    workers = WorkerProcess.objects.using(settings.DATABASE).filter(pk=worker)
    if not workers.update(beat_at=DatabaseNow(), pid=pid):
        return False
    activity.beat(now)
    return True


class RestWatch:
    """Notes that a job has begun, and gives back what was claimed together with one that is long."""

    def __init__(self, worker: str, activity: Activity) -> None:
        self.worker = worker
        self.activity = activity
        self._seen: int | None = None

    def look(self) -> None:
        """Look once; to be called several times a second."""
        current = self.activity.current()
        if current is None:
            self._seen = None
        elif current.id != self._seen and current.age >= GIVE_BACK_AFTER:
            DelayedJob.objects.using(settings.DATABASE).release_rest(self.worker, current.id, current.age)
            self._seen = current.id


class BeatingThread(threading.Thread):
    """Beats for the worker of its own process, where no parent does, and ends a stop that takes too long."""

    def __init__(self, worker: str, activity: Activity, shutdown: Shutdown) -> None:
        super().__init__(name="django_delayed beat", daemon=True)
        self._worker = worker
        self._activity = activity
        self._shutdown = shutdown
        self._rest = Chore(RestWatch(worker, activity).look, timedelta(0))
        self._beat = Chore(self._beat_once, beat_interval())
        self._over = threading.Event()

    def run(self) -> None:
        """Beat until `stop`."""
        patience = settings.SHUTDOWN_TIMEOUT.total_seconds()
        while not self._over.wait(TICK):
            self._rest.run_when_due()
            self._beat.run_when_due()
            if self._shutdown.requested and (patience := patience - TICK) < 0:
                self._shutdown.insist()
        connections.close_all()

    def stop(self) -> None:
        """End the thread and its connection."""
        self._over.set()
        self.join()

    def _beat_once(self) -> None:
        if not beat(self._worker, os.getpid(), self._activity):
            self._shutdown.request()  # declared dead: what it does now would not be written
