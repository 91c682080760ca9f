"""A process for each job, with --isolate: forked by the worker, waited for, and killed at a deadline."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from datetime import timedelta
from functools import partial

from django.db import connections

from ..conf import settings
from ..execution.deaths import decide_after_crash, decide_after_kill
from ..execution.outcomes import Outcome, Released
from ..execution.session import Session
from ..execution.settle import Performed
from ..models import DelayedJob, all_rows
from ..signals import fields_of
from .activity import Activity
from .availability import repeat_while_unavailable
from .child import STOP, WRITTEN, announce_in_child, flush_streams, live, perform_in_child, prepare
from .exits import how_it_ended
from .handlers import signals_handled
from .outcome_json import load_outcome, size_limit
from .shutdown import Shutdown
from .titles import show_job
from .wakeup import Wakeup

logger = logging.getLogger("django_delayed")

LOOK_EVERY = 1.0  # seconds, at the deadlines of a child
# Why a worker kills a child.
OVERDUE, SHUTDOWN = "overdue", "shutdown"


class Child:
    """A process that this one has forked, and the socket between them."""

    def __init__(self, run: Callable[[socket.socket], None]) -> None:
        """Fork; `run` is called in the new process, with its end of the socket."""
        self.link, theirs = socket.socketpair()
        worker = os.getpid()
        flush_streams()
        self.pid = os.fork()
        if not self.pid:
            live(worker, theirs, run)
        theirs.close()
        self.link.setblocking(False)
        with suppress(OSError):
            # The child does the same; the first of both takes effect. Its group is killed with it.
            os.setpgid(self.pid, self.pid)
        self.code = 0  # once it has ended: its exit code, negative for a signal
        self._has_ended = False
        self._received = b""
        self._can_be_read = True

    @property
    def fd(self) -> int | None:
        """The descriptor to wait for; None when nothing more can come from it."""
        return self.link.fileno() if self._can_be_read else None

    def has_ended(self) -> bool:
        """Whether its process is over."""
        if not self._has_ended:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._has_ended, self.code = True, os.waitstatus_to_exitcode(status)
        return self._has_ended

    def message(self) -> bytes | None:
        """What it has said, once all of it is there; nothing, if that is longer than an outcome can be."""
        with suppress(BlockingIOError, ConnectionError):
            while self._can_be_read:
                data = self.link.recv(64 * 1024)
                self._received += data
                self._can_be_read = bool(data)
                if len(self._received) > size_limit():
                    self._can_be_read, self._received = False, b""
                    self.kill()
        return self._received if self._received.endswith(b"\n") else None

    def say(self, word: bytes) -> None:
        """Send this to the child. A child that is gone is noticed elsewhere."""
        with suppress(OSError):
            self.link.send(word)

    def kill(self) -> None:
        """Kill it, and the processes that it has started and that have not left its group."""
        if not self._has_ended:
            for kill in (os.killpg, os.kill):
                with suppress(OSError):
                    kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill it if it still runs, and forget it."""
        self.kill()
        self.link.close()
        if not self._has_ended:
            os.waitpid(self.pid, 0)


class Children:
    """The children of one worker, one after the other.

    A worker that forks has neither threads nor open connections: a child would inherit locks that nobody
    releases, and use the connections of its worker. So the signals of jobs are sent in a child too: what a
    receiver opens or starts ends with it. Each child waits for its outcome to be written.
    """

    settles_together = False

    def __init__(self, activity: Activity, session: Session, wakeup: Wakeup, shutdown: Shutdown) -> None:
        # It has no threads, and so one slot.
        [self._slot] = activity.slots
        self._activity = activity
        self._session = session  # that of receivers in the worker
        self._wakeup = wakeup
        self._shutdown = shutdown
        self._child: Child | None = None
        self._killed_for = ""
        self._limit = timedelta(0)  # of a job that was killed because it was overdue
        self._kill_at: float | None = None  # on the monotonic clock, once a stop is requested
        self._stack = ExitStack()

    def begin(self) -> None:
        """Called before the first job."""
        prepare()
        # Without a handler, the end of a child would not end the sleep of the worker.
        self._stack.enter_context(signals_handled([signal.SIGCHLD], lambda *_: None))

    def perform(self, row: DelayedJob) -> Outcome:
        """The outcome of this row's job in a process of its own, which then waits for `announce`."""
        show_job("isolating", row)
        child = self._fork(partial(perform_in_child, row, self._slot))
        while True:
            # Asked before its message is read: once it has ended, all that it has said is there.
            has_ended = child.has_ended()
            if (message := child.message()) is not None:
                return load_outcome(row, message)
            if has_ended:
                break
            self._wait(child, child.fd)
        return repeat_while_unavailable(
            partial(self._decide, row, child.code), self._wakeup, lambda error: self._shutdown.immediate
        )

    def announce(self, written: Sequence[Performed]) -> None:
        """Announce an outcome that is written, in the process of the job; in a new one if that has died."""
        [(row, outcome)] = written
        child = self._child
        if child is None or child.has_ended():
            child = self._fork(partial(announce_in_child, row, outcome))
        child.say(WRITTEN)
        while not child.has_ended():
            self._wait(child)
        if child.code:
            how = how_it_ended(child.code)
            logger.warning("%s: the process that announced its outcome %s", row, how, extra=fields_of(row))

    def end_job(self, row: DelayedJob) -> None:
        """End the process of this row's job, which is settled."""
        self._end_child()

    def end(self) -> None:
        """Called after the last job."""
        self._end_child()
        self._stack.close()
        self._session.close()

    def _end_child(self) -> None:
        if self._child:
            self._child.close()
            self._child = None
            self._activity.child = 0

    def _fork(self, run: Callable[[socket.socket], None]) -> Child:
        self._end_child()
        self._session.close()
        connections.close_all()
        self._killed_for = ""
        self._child = child = Child(run)
        self._activity.child = child.pid
        return child

    def _wait(self, child: Child, fd: int | None = None) -> None:
        """Sleep until something may have happened to the child, which is killed when its time is over."""
        current, now = self._slot.current(), time.monotonic()
        if self._shutdown.requested and self._kill_at is None:
            child.say(STOP)
            self._kill_at = now + settings.SHUTDOWN_TIMEOUT.total_seconds()
        if self._killed_for:
            pass
        elif self._shutdown.immediate or (self._kill_at and now >= self._kill_at):
            self._kill(child, SHUTDOWN)
        elif current and current.is_overdue:
            logger.warning("Job %s has outlived its max_run_time and does not end; killing it", current.id)
            self._limit = current.limit or timedelta(0)
            self._kill(child, OVERDUE)
        left = LOOK_EVERY if self._kill_at is None else min(LOOK_EVERY, max(self._kill_at - now, 0.01))
        self._wakeup.wait(left, fd)

    def _kill(self, child: Child, why: str) -> None:
        self._killed_for = why
        child.kill()

    def _decide(self, row: DelayedJob, code: int) -> Outcome:
        """The outcome of a job after its process has ended without telling it."""
        if self._killed_for == SHUTDOWN:
            return Released()
        # The job may have written something beside its row.
        extras = all_rows().filter(pk=row.pk).values_list("extras", flat=True).first()
        row.extras = row.extras if extras is None else extras
        if self._killed_for == OVERDUE:
            return decide_after_kill(row, self._limit)
        return decide_after_crash(row, f"its process {how_it_ended(code)}")
