"""One worker process as its supervisor sees it: started, watched, stopped or killed."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial

from ..conf import settings
from ..databases import DatabaseNow
from ..execution.deaths import decide_after_death, decide_after_kill
from ..models import all_rows
from ..worker.activity import Activity
from ..worker.availability import PeriodicTask
from ..worker.batch_watch import BatchWatch
from ..worker.cancelling import CancelledJobs, Decide
from ..worker.clock import since_boot
from ..worker.configuration import ENVIRONMENT_VARIABLE, Configuration, Start
from ..worker.exits import how_it_ended
from ..worker.heartbeat import heartbeat_interval, send_heartbeat
from ..worker.recovery import release_and_deregister, settle_current, time_out
from ..worker.roll_up import ROLL_UP_EVERY, RollUp
from ..worker.slot import GRACE, Current
from ..worker.tally import Tally
from .command_line import worker_command
from .overdue import OverdueJobs

logger = logging.getLogger("django_delayed")

# How long a worker may wait for a statement of its own. It is long, as the table may be locked for a while.
# If a worker is killed before it has settled a job, the job is performed again.
STATEMENT_LIMIT = timedelta(minutes=5)
# Why a supervisor kills a worker.
LOST, OVERDUE, CANCELLED, SHUTDOWN = "lost", "overdue", "cancelled", "shutdown"
STUCK, LEFT = "stuck", "left"


class Process:
    """A worker process. Its supervisor sends its heartbeats, as a job may hold the GIL for a long time."""

    def __init__(self, worker: str, configuration: Configuration, wakeup: int, quiet: bool = False) -> None:
        """Start the process of the worker of this id: by exec, as a fork would share open connections.

        It writes to the file descriptor `wakeup` when it is no longer idle. One that is `quiet` claims
        nothing until it is told to.
        """
        self.worker = worker
        self._configuration = configuration
        self.started = time.monotonic()
        self.activity = _new_activity(configuration.threads, quiet)
        self._batches = [BatchWatch(worker, slot) for slot in self.activity.slots]
        self.cancelled = CancelledJobs(self.activity.slots)
        self._killed_for, self._is_lost = "", False
        self._overdue: Current | None = None
        self._overdue_threads = OverdueJobs()
        self._roll_up = RollUp(worker, self.activity)
        # For the thread that runs the SQL of the supervisor.
        self.tasks = self._periodic_tasks()
        # Nothing is written to the pipe: the worker reads the end of the file when this process is gone.
        reader, self._writer = os.pipe()
        start = Start(worker, configuration, self.activity.fd, reader, wakeup, time.time())
        self._popen = subprocess.Popen(
            worker_command(),
            env={**os.environ, ENVIRONMENT_VARIABLE: start.dump()},
            pass_fds=(self.activity.fd, reader, wakeup),
            # Ctrl-C in a terminal is for the supervisor, which passes it on.
            start_new_session=True,
        )
        os.close(reader)

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._popen.poll()

    @property
    def was_killed(self) -> bool:
        """Whether this supervisor killed it."""
        return bool(self._killed_for)

    @property
    def had_left(self) -> bool:
        """Whether it was killed because it had left its loop and did not end."""
        return self._killed_for == LEFT

    @property
    def _has_threads(self) -> bool:
        return self._configuration.threads > 1

    @property
    def currents(self) -> Sequence[Current]:
        """The job of each slot that has one."""
        return [current for slot in self.activity.slots if (current := slot.current())]

    @property
    def long_job_in(self) -> float:
        """Seconds until there may be something for `release_batches` to do; 0 once there is."""
        return min(batch.due_in for batch in self._batches)

    def release_batches(self) -> None:
        """Release what was claimed together with jobs that have become long."""
        for batch in self._batches:
            batch.release()

    def watch(self) -> None:
        """Kill the process at a deadline; to be called several times a second. Runs no SQL."""
        if self._killed_for:
            return
        overdue = next((current for current in self.currents if self._is_overdue(current)), None)
        if self._is_lost:
            logger.warning("Worker %s was declared dead; replacing it", self.worker)
            self.kill(LOST)
        elif self._has_threads and self._overdue_threads.are_all_of(self.currents):
            self.kill(OVERDUE)
        elif overdue and not self._has_threads:
            self._overdue = overdue
            self.kill(OVERDUE)
        elif not self._has_threads and (asked := self.cancelled.overdue()):
            logger.warning("Job %s was asked to end and does not; ending worker %s", asked[0].id, self.worker)
            self.kill(CANCELLED)
        elif self.activity.left_for > GRACE:
            logger.warning("Worker %s has stopped working and does not end; ending it", self.worker)
            self.kill(LEFT)
        elif any(slot.in_statement_for > STATEMENT_LIMIT for slot in self.activity.slots):
            logger.error("Worker %s has waited too long for the database; replacing it", self.worker)
            self.kill(STUCK)

    def _is_overdue(self, current: Current) -> bool:
        # A worker that isolates its jobs kills them itself, and gets the same time again for that.
        return current.has_outlived_limit_by(2 * GRACE if self._configuration.isolate else GRACE)

    def overdue_threads(self) -> Sequence[Callable[[], None]]:
        """Functions that settle the jobs of threads that run too long or do not end; each job is found once.

        The process then has to be told to end; its other jobs may end before it does.
        """
        if not self._has_threads or self._killed_for:
            return []
        overlong = self._overdue_threads.find(self.currents)
        asked = self._overdue_threads.add(self.cancelled.overdue())
        cancel = self.cancelled.decision(None)
        settle = [partial(time_out, self.worker, current) for current in overlong] + [
            partial(settle_current, self.worker, current, cancel) for current in asked if cancel
        ]
        return [partial(self._settle, one) for one in settle]

    def _settle(self, one: Callable[[], Tally]) -> None:
        # The thread's own outcome is refused, and not counted.
        self._roll_up.count(one())

    def send_signal(self, signum: signal.Signals) -> None:
        """Send a signal to the process."""
        self._popen.send_signal(signum)

    def dump_stacks(self) -> None:
        """Let it write the stacks of its threads to stderr, and the process of an isolated job too."""
        self._popen.send_signal(signal.SIGQUIT)
        if pid := self.activity.child:
            with suppress(OSError):
                os.kill(pid, signal.SIGQUIT)

    def _periodic_tasks(self) -> list[PeriodicTask]:
        return [
            PeriodicTask(self.send_heartbeat, heartbeat_interval()),
            PeriodicTask(self._release_unknown, settings.LEASE),
            PeriodicTask(self._roll_up.write_if_due, ROLL_UP_EVERY),
        ]

    def send_heartbeat(self) -> None:
        """Write that the worker is alive. Runs SQL."""
        self._is_lost = not send_heartbeat(self.worker, self.pid, self.activity)

    def kill(self, why: str) -> None:
        """End the process now; the first reason counts."""
        if not self._killed_for:
            self._killed_for = why
            self._popen.kill()
            self.end_child()

    def end_child(self) -> None:
        """End the process of an isolated job, and what it has started, when its worker is dead or dying."""
        if pid := self.activity.child:
            with suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
            self.activity.child = 0

    def removal(self, currents: Sequence[Current], code: int) -> Callable[[], None]:
        """A function that settles and releases the jobs that a process has ended in, and removes its row."""
        ids, decide = [current.id for current in currents], self.decision(currents, code)
        # Read now, as the page may be closed when the function runs.
        unsettled, tally = self.activity.unsettled(), self.activity.tally

        def remove() -> None:
            self._settle(partial(release_and_deregister, self.worker, ids, decide, unsettled))
            self._roll_up.end(tally)

        return remove

    def decision(self, currents: Sequence[Current], code: int) -> Decide | None:
        """How to decide about the jobs that the process performed when it ended; None to release them."""
        return self.cancelled.decision(self._decision(currents, code))

    def _decision(self, currents: Sequence[Current], code: int) -> Decide | None:
        if not currents:
            return None
        if not self._killed_for:
            why, was_alone = f"its worker {how_it_ended(code)}", len(currents) == 1
            return partial(decide_after_death, why=why, was_alone=was_alone)
        if self._overdue and self._overdue.id == currents[0].id:
            return partial(decide_after_kill, limit=self._overdue.limit or timedelta(0))
        return None

    def close(self) -> None:
        """Free what a process that has ended leaves behind; one that runs notices it, and ends."""
        os.close(self._writer)
        self.activity.close()

    def _release_unknown(self) -> None:
        # If the answer to a claim is lost, the worker releases what the claim took. This is for what it has
        # missed, and would hold for as long as it lives.
        slots = self.activity.slots
        # What a shorter claim took is younger than a lease.
        if any(slot.in_statement_for > settings.LEASE / 2 for slot in slots):
            return
        before = DatabaseNow(plus=-settings.LEASE)
        held = all_rows().running().filter(locked_by=self.worker, locked_at__lt=before)
        if released := all_rows().release(held.exclude(lock_token__in=[slot.claimed for slot in slots])):
            logger.warning("Worker %s held jobs that it did not know of; released: %s", self.worker, released)


def _new_activity(slots: int, quiet: bool) -> Activity:
    activity = Activity(slots=slots)
    activity.be_quiet(quiet)
    # The row of the worker was written just now.
    activity.heartbeat(since_boot())
    return activity
