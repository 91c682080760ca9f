"""Keeps one worker running: starts its process, watches it, and starts the next when it has ended."""

from __future__ import annotations

import logging
import math
import signal
import time
from functools import partial
from threading import Event

from ..conf import settings
from ..worker.activity import GRACE
from ..worker.configuration import CODE_HAS_CHANGED, DONE, USED_UP, Configuration, new_worker_id
from ..worker.heartbeat import register
from ..worker.recovery import release_and_deregister
from .database_thread import DatabaseThread
from .process import SHUTDOWN, Process, how_it_ended
from .restart import Restart

logger = logging.getLogger("django_delayed")


class WorkerManager:
    """Keeps one worker running until told to stop; `tick` is to be called several times a second."""

    def __init__(self, configuration: Configuration, database: DatabaseThread) -> None:
        self.configuration = configuration
        self._database = database
        self._worker = ""
        # Set once the row of the next worker is written, or that of the last one removed.
        self._registered: Event | None = None
        self._removed: Event | None = None
        # Set once the batch of a long job is released.
        self._released: Event | None = None
        self._process: Process | None = None
        self._restart = Restart()
        self._has_ended = False
        # Set when told to stop: when to kill the process, on the monotonic clock.
        self._kill_at: float | None = None
        # The same for a process that is to be replaced.
        self._kill_replaced_at: float | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the worker has ended for good.

        After a stop, an unavailable database is not waited for: another supervisor will release what the
        worker held.
        """
        gave_up = self._kill_at is not None and time.monotonic() > self._kill_at + GRACE.total_seconds()
        return self._has_ended or gave_up

    @property
    def is_up(self) -> bool:
        """Whether there is a worker that has started up and is not to be replaced."""
        process = self._process
        return process is not None and process.activity.is_ready and self._kill_replaced_at is None

    def tick(self) -> None:
        """Do what is to be done now. Runs no SQL: what has to be written is requested."""
        if self._has_ended:
            return
        if self._process is None:
            self._start_next()
        elif (code := self._process.exit_code) is not None:
            self._remove(self._process, code)
        else:
            self._process.watch()
            self._release_batch(self._process)
            if any(
                at is not None and time.monotonic() > at for at in (self._kill_at, self._kill_replaced_at)
            ):
                self._process.kill(SHUTDOWN)

    def replace(self) -> None:
        """Let the worker finish its job and end, or kill it after SHUTDOWN_TIMEOUT; then start another."""
        if self._process is None or self._kill_at is not None:
            return
        self._kill_replaced_at = time.monotonic() + settings.SHUTDOWN_TIMEOUT.total_seconds()
        self._process.send_signal(signal.SIGTERM)
        logger.info("Worker %s was told to stop, and is replaced", self._process.worker)

    def stop(self) -> None:
        """Let the worker finish its job, and kill it after SHUTDOWN_TIMEOUT."""
        if self._kill_at is not None:
            return
        self._kill_at = time.monotonic() + settings.SHUTDOWN_TIMEOUT.total_seconds()
        # One that is to be replaced has been told: a second signal would mean at once.
        if self._process and self._kill_replaced_at is None:
            self._process.send_signal(signal.SIGTERM)
            logger.info("Worker %s was told to stop", self._process.worker)

    def kill(self) -> None:
        """End the worker now; its job is released, and the attempt is not counted."""
        self.stop()
        self._kill_at = min(self._kill_at or math.inf, time.monotonic())
        if self._process:
            self._process.kill(SHUTDOWN)

    def abandon(self) -> None:
        """Free what belongs to a worker that still runs: without a supervisor, it ends by itself."""
        if self._process:
            self._database.remove(self._process.tasks)
            self._process.close()
            self._process = None

    def dump_stacks(self) -> None:
        """Let the worker write the stacks of its threads to stderr."""
        if self._process:
            self._process.send_signal(signal.SIGQUIT)

    def _start_next(self) -> None:
        if self._kill_at is not None:
            if self._registered:
                self._database.request(partial(release_and_deregister, self._worker))
            self._has_ended = True
        elif self._registered is None:
            if self._restart.is_due():
                self._worker = new_worker_id()
                self._registered = self._database.request(partial(register, self._worker, self.configuration))
        elif self._registered.is_set():
            self._registered = None
            self._restart.worker_starts()
            self._process = Process(self._worker, self.configuration)
            self._database.add(self._process.tasks)

    def _release_batch(self, process: Process) -> None:
        """Have released what was claimed together with a job that has become long."""
        if (self._released is None or self._released.is_set()) and process.batch.long_job():
            self._released = self._database.request(process.batch.release)

    def _remove(self, process: Process, code: int) -> None:
        """Have released what the worker held when it ended; then decide what comes next."""
        current = process.activity.current()
        if self._removed is None:
            if self._kill_at is not None:
                # From now on only the database is waited for.
                self._kill_at = min(self._kill_at, time.monotonic())
            self._database.remove(process.tasks)
            id, decide = current.id if current else None, process.decision(current, code)
            self._removed = self._database.request(
                partial(release_and_deregister, process.worker, id, decide)
            )
        elif self._removed.is_set():
            self._removed = self._process = None
            was_replaced = self._kill_replaced_at is not None
            self._kill_replaced_at = None
            if not was_replaced:
                self._decide_what_next(process, code, process.activity.is_ready, in_a_job=bool(current))
            process.close()

    def _decide_what_next(self, process: Process, code: int, was_ready: bool, in_a_job: bool) -> None:
        if (code == DONE or process.had_left) and not in_a_job and not self.configuration.sleep_delay:
            self._has_ended = True
        was_asked = self._kill_at is not None or process.was_killed
        if was_asked or (was_ready and code in (DONE, CODE_HAS_CHANGED, USED_UP)):
            return
        # No error in a job: the failure of the job is one already.
        level = logging.WARNING if in_a_job else logging.ERROR
        logger.log(level, "Worker %s %s", process.worker, how_it_ended(code))
        self._restart.worker_failed(time.monotonic() - process.started, in_a_job)
        if settings.RELOAD and code > 0 and not was_ready:
            self._restart.wait_for_repair()
