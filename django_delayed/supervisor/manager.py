"""Keeps one worker running: starts its process, watches it, and starts the next when it has ended."""

from __future__ import annotations

import logging
import math
import signal
import time
from functools import partial
from threading import Event

from ..conf import settings
from ..models import WorkerRequest
from ..worker.configuration import CODE_HAS_CHANGED, DONE, USED_UP, Configuration, new_worker_id
from ..worker.exits import how_it_ended
from ..worker.heartbeat import SHORTEST_TICK, TICK, register
from ..worker.recovery import release_and_deregister
from ..worker.slot import GRACE
from ..worker.wakeup import Wakeup
from .database_thread import DatabaseThread
from .process import SHUTDOWN, Process
from .restart import Restart

# Seconds between two looks at a worker that is idle; it may still have to be replaced.
IDLE_TICK = 1.0

logger = logging.getLogger("django_delayed")


class WorkerManager:
    """Keeps one worker running until told to stop, if its `tick` is called as often as `next_tick_in` says.

    The worker wakes the supervisor when it finds work.
    """

    def __init__(self, configuration: Configuration, database: DatabaseThread, wakeup: Wakeup) -> None:
        self.configuration = configuration
        self._database = database
        self._wakeup = wakeup
        self._worker = ""
        # Set once the row of the next worker is written, or that of the last one removed.
        self._registered: Event | None = None
        self._removed: Event | None = None
        # Set once the batch of a long job is released.
        self._released = Event()
        self._released.set()
        self._process: Process | None = None
        # Whether the worker, and the one that takes its place, is to claim nothing.
        self._is_quiet = False
        # Whether a stop is that of the supervisor, after which nothing starts another worker.
        self._stops_for_good = False
        self._restart = Restart()
        self._has_ended = False
        # Set when told to stop: when to kill the process, on the monotonic clock.
        self._kill_at: float | None = None
        # The same for a process that is to be replaced.
        self._kill_replaced_at: float | None = None

    @property
    def worker(self) -> str:
        """The id of the worker, or of the one that is about to be started; "" before the first."""
        return self._worker

    @property
    def pid(self) -> int | None:
        """The id of the worker's process, if there is one."""
        return self._process.pid if self._process else None

    @property
    def has_ended(self) -> bool:
        """Whether the worker has ended for good.

        After a stop, it does not wait for an unavailable database: another supervisor will release what was
        held.
        """
        gave_up = self._kill_at is not None and time.monotonic() > self._kill_at + GRACE.total_seconds()
        return self._has_ended or gave_up

    @property
    def is_up(self) -> bool:
        """Whether there is a worker that has started up and is not to be replaced."""
        process = self._process
        return process is not None and process.activity.is_ready and self._kill_replaced_at is None

    @property
    def is_ready(self) -> bool:
        """Whether the worker is up and has a heartbeat that is younger than a lease."""
        process = self._process
        return process is not None and self.is_up and not process.activity.is_stale(settings.LEASE)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do until the worker has work, ends, or is to be stopped."""
        process = self._process
        if process is None or not self.is_up or self._removed or self._kill_at is not None:
            return False
        return not (process.activity.is_working or process.currents)

    @property
    def next_tick_in(self) -> float:
        """Seconds until `tick` is to be called, at most; less when the wakeup is woken."""
        if self.is_idle:
            return IDLE_TICK
        if self._process is None or not self._released.is_set():
            return TICK
        return max(SHORTEST_TICK, min(TICK, self._process.long_job_in))

    def tick(self) -> None:
        """Do what is due now, without SQL: what has to be written is requested from the database thread."""
        if self._has_ended:
            return
        if self._process is None:
            self._start_next()
        elif (code := self._process.exit_code) is not None:
            self._remove(self._process, code)
        else:
            self._process.watch()
            self._time_out(self._process)
            self._release_batch(self._process)
            if time.monotonic() > min(at or math.inf for at in (self._kill_at, self._kill_replaced_at)):
                self._process.kill(SHUTDOWN)

    def replace(self) -> None:
        """Let the worker finish, or kill it after SHUTDOWN_TIMEOUT; then start another, also after a stop."""
        if self._kill_at is not None and not self._stops_for_good:
            self._kill_replaced_at = self._kill_at if self._process else None
            self._kill_at, self._has_ended = None, False
            return
        if self._process is None or self._kill_at is not None:
            return
        self._kill_replaced_at = time.monotonic() + settings.SHUTDOWN_TIMEOUT.total_seconds()
        self._process.send_signal(signal.SIGTERM)
        logger.info("Worker %s was told to stop, and is replaced", self._process.worker)

    @property
    def is_quiet(self) -> bool:
        """Whether the worker claims nothing, or the next one will."""
        return self._process.activity.is_quiet if self._process else self._is_quiet

    def be_quiet(self, quiet: bool) -> None:
        """Let the worker claim no more, and finish what it has begun; or let it claim again."""
        self._is_quiet = quiet
        if self._process:
            self._process.activity.be_quiet(quiet)
            # A heartbeat says so too, so that the admin shows it before the next one is due.
            self._database.request(self._process.send_heartbeat)

    def cancel(self, request: WorkerRequest) -> None:
        """Ask a job of the worker to end, and kill the worker if it does not within SHUTDOWN_TIMEOUT."""
        if self._process:
            self._process.cancelled.ask(request)

    def stop(self, for_good: bool = True) -> None:
        """Let the worker finish its job, and kill it after SHUTDOWN_TIMEOUT.

        If not `for_good`, `replace` starts another one.
        """
        self._stops_for_good |= for_good
        if self._kill_at is not None:
            return
        self._kill_at = time.monotonic() + settings.SHUTDOWN_TIMEOUT.total_seconds()
        # One that is to be replaced has been told already: a second signal would end it at once.
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
            self._process.dump_stacks()

    def _start_next(self) -> None:
        if self._kill_at is not None:
            if self._registered:
                self._database.request(partial(release_and_deregister, self._worker))
                self._registered = None
            self._has_ended = True
        elif self._registered is None:
            if self._restart.is_due():
                self._worker = new_worker_id()
                self._registered = self._database.request(
                    partial(register, self._worker, self.configuration, self._is_quiet)
                )
        elif self._registered.is_set():
            self._registered = None
            self._restart.worker_starts()
            self._process = Process(self._worker, self.configuration, self._wakeup.fd, self._is_quiet)
            self._database.add(self._process.tasks)

    def _release_batch(self, process: Process) -> None:
        """Request the release of what was claimed together with a job that has become long."""
        if self._released.is_set() and not process.long_job_in:
            self._released = self._database.request(process.release_batches)

    def _time_out(self, process: Process) -> None:
        """Request to settle the jobs of threads that run too long or do not end, and replace their worker."""
        for settle in process.overdue_threads():
            # Before what the worker held is released: requests are run one after the other.
            self._database.request(settle)
            # A worker that was told to stop is not told again.
            if self._kill_at is None and self._kill_replaced_at is None:
                self.replace()

    def _remove(self, process: Process, code: int) -> None:
        """Request the release of what the worker held when it ended; then decide what comes next."""
        currents = process.currents
        if self._removed is None:
            if self._kill_at is not None:
                # From now on, the manager waits only for the database.
                self._kill_at = min(self._kill_at, time.monotonic())
            self._database.remove(process.tasks)
            # Before the job is released: it may be performed again at once.
            process.end_child()
            self._removed = self._database.request(process.removal(currents, code))
        elif self._removed.is_set():
            self._removed = self._process = None
            # A signal to the worker itself may have made it quiet.
            self._is_quiet = process.activity.is_quiet
            was_replaced = self._kill_replaced_at is not None
            self._kill_replaced_at = None
            if not was_replaced:
                self._decide_what_next(process, code, process.activity.is_ready, in_a_job=bool(currents))
            process.close()

    def _decide_what_next(self, process: Process, code: int, was_ready: bool, in_a_job: bool) -> None:
        if (code == DONE or process.had_left) and not in_a_job and not self.configuration.sleep_delay:
            self._has_ended = True
        was_asked = self._kill_at is not None or process.was_killed
        if was_asked or (was_ready and code in (DONE, CODE_HAS_CHANGED, USED_UP)):
            return
        # In a job, this is only a warning: the failure of the job is logged as an error already.
        level = logging.WARNING if in_a_job else logging.ERROR
        logger.log(level, "Worker %s %s", process.worker, how_it_ended(code))
        self._restart.worker_failed(time.monotonic() - process.started, in_a_job)
        if settings.RELOAD and code > 0 and not was_ready:
            self._restart.wait_for_repair()
