"""One worker process as its supervisor sees it: started, watched, stopped or killed."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from ..conf import settings
from ..databases import DatabaseNow
from ..execution.outcomes import Outcome, decide_after_crash, decide_after_kill
from ..models import DelayedJob, all_rows
from ..worker.activity import GRACE, Activity, Current
from ..worker.availability import PeriodicTask
from ..worker.configuration import ENVIRONMENT_VARIABLE, Configuration, Start
from ..worker.heartbeat import BatchWatch, heartbeat_interval, send_heartbeat
from .command_line import worker_command

logger = logging.getLogger("django_delayed")

# How long a worker may wait for a statement of its own. It is long, as the table may be locked for a while: a
# job whose worker is killed before it has settled it is performed again.
STATEMENT_LIMIT = timedelta(minutes=5)
# Why a supervisor kills a worker.
LOST, OVERDUE, SHUTDOWN, STUCK, LEFT = "lost", "overdue", "shutdown", "stuck", "left"


class Process:
    """A worker process. Its supervisor sends its heartbeats: a job that holds the GIL must not look dead."""

    def __init__(self, worker: str, configuration: Configuration) -> None:
        """Start the process of the worker of this id: by exec, for a fork would share open connections."""
        self.worker = worker
        self.started = time.monotonic()
        self.activity = Activity()
        # The row of the worker was written just now.
        self.activity.heartbeat(time.time())
        self.batch = BatchWatch(worker, self.activity)
        self._killed_for = ""
        self._overdue: Current | None = None
        self._is_lost = False
        # For the thread that runs the SQL of the supervisor.
        self.tasks = [
            PeriodicTask(self._send_heartbeat, heartbeat_interval()),
            PeriodicTask(self._release_unknown, settings.LEASE),
        ]
        # Nothing is written to the pipe: the worker reads its end when this process is gone.
        reader, self._writer = os.pipe()
        start = Start(worker, configuration, self.activity.fd, reader, time.time())
        self._popen = subprocess.Popen(
            worker_command(),
            env={**os.environ, ENVIRONMENT_VARIABLE: start.dump()},
            pass_fds=(self.activity.fd, reader),
            # Ctrl-C in a terminal is for the supervisor, which passes it on.
            start_new_session=True,
        )
        os.close(reader)

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

    def watch(self) -> None:
        """Kill the process at a deadline; to be called several times a second. Runs no SQL."""
        if self._killed_for:
            return
        current = self.activity.current()
        if self._is_lost:
            logger.warning("Worker %s was declared dead; replacing it", self.worker)
            self.kill(LOST)
        elif current and current.is_overdue:
            self._overdue = current
            self.kill(OVERDUE)
        elif self.activity.left_for > GRACE:
            logger.warning("Worker %s has stopped working and does not end; ending it", self.worker)
            self.kill(LEFT)
        elif self.activity.in_statement_for > STATEMENT_LIMIT:
            logger.error("Worker %s waits for the database for too long; replacing it", self.worker)
            self.kill(STUCK)

    def send_signal(self, signum: signal.Signals) -> None:
        """Send a signal to the process."""
        self._popen.send_signal(signum)

    def kill(self, why: str) -> None:
        """End the process now; the first reason counts."""
        if not self._killed_for:
            self._killed_for = why
            self._popen.kill()

    def decision(self, current: Current | None, code: int) -> Callable[[DelayedJob], Outcome] | None:
        """How to decide about the job that the process was performing when it ended; None to release it."""
        if current is None:
            return None
        if not self._killed_for:
            return partial(decide_after_crash, why=f"its worker {how_it_ended(code)}")
        if self._overdue and self._overdue.id == current.id:
            return partial(decide_after_kill, limit=self._overdue.limit or timedelta(0))
        return None

    def close(self) -> None:
        """Free what a process that has ended leaves behind; one that runs notices it, and ends."""
        os.close(self._writer)
        self.activity.close()

    def _send_heartbeat(self) -> None:
        self._is_lost = not send_heartbeat(self.worker, self._popen.pid, self.activity)

    def _release_unknown(self) -> None:
        # The worker releases what a claim took whose answer was lost. This is for what it has missed, and
        # would hold for as long as it lives.
        if self.activity.in_statement_for:
            return
        before = DatabaseNow(plus=-settings.LEASE)
        held = all_rows().running().filter(locked_by=self.worker, locked_at__lt=before)
        if released := all_rows().release(held.exclude(lock_token=self.activity.claimed)):
            logger.warning("Worker %s held %s jobs that it did not know; released", self.worker, released)


def how_it_ended(code: int) -> str:
    """The exit code of a worker in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    hint = ", perhaps out of memory" if -code == signal.SIGKILL else ""
    return f"was killed by {_name_of(-code)}{hint}"


def _name_of(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:
        # A real-time signal has no name of its own.
        return f"signal {signum}"
