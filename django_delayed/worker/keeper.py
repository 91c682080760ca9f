"""Keeps one worker running: starts it, beats for it, notices how it ends, starts the next."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from ..conf import settings
from ..models import DelayedJob
from .activity import Current
from .child import CODE_HAS_CHANGED, DONE, Child
from .chores import Chore
from .heartbeat import RestWatch, beat, beat_interval, register
from .patience import pauses
from .reload import SourceWatch
from .upkeep import bury, crash, time_out
from .worker import Configuration

logger = logging.getLogger("django_delayed")

GRACE = timedelta(seconds=3)  # beyond max_run_time, for the job's own alarm to end it
STEADY = 5.0  # seconds; a worker that ends sooner is not started again at once
AFTER_A_CRASH = 0.5  # seconds at most, until the next worker is started
TRY_BROKEN_CODE_AFTER = 30.0  # seconds; the repair may be in a file that nobody knows of
AT_ONCE = timedelta(0)


class Keeper:
    """Keeps one child process at work until told to stop; `look` is to be called several times a second."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.child: Child | None = None
        self._is_over = False
        self._stopping = False
        self._killed_for = ""
        self._overdue: Current | None = None
        self._kill_at = float("inf")
        self._start_at = 0.0
        self._waits = pauses()
        self._sources: SourceWatch | None = None
        self._code_is_broken = False

    @property
    def is_over(self) -> bool:
        """Whether all is done; with the database away, what the worker held is left to whoever rescues it."""
        return self._is_over or (self._stopping and time.monotonic() > self._kill_at + GRACE.total_seconds())

    def look(self) -> None:
        """Do what is to be done now."""
        if self.child is None:
            self._start_next()
        elif (code := self.child.process.poll()) is not None:
            self._kill_at = min(self._kill_at, time.monotonic())  # from now on, we wait for the database only
            self._bury(self.child, code)
        else:
            self._watch(self.child)

    def stop(self) -> None:
        """Let the worker finish its job, and kill it after SHUTDOWN_TIMEOUT."""
        if self._stopping:
            return
        self._stopping = True
        self._kill_at = time.monotonic() + settings.SHUTDOWN_TIMEOUT.total_seconds()
        if self.child:
            self.child.stop()
            logger.info("Worker %s is told to stop", self.child.worker)

    def kill(self) -> None:
        """End the worker now; its job goes back with its attempt."""
        self.stop()
        self._kill_at = min(self._kill_at, time.monotonic())
        self._kill("shutdown")

    def leave(self) -> None:
        """Leave the worker to itself: without a parent, it ends."""
        if self.child:
            self.child.close()
            self.child = None

    def dump_stacks(self) -> None:
        """Let the worker write the stacks of its threads to stderr."""
        if self.child:
            self.child.process.send_signal(signal.SIGQUIT)

    # Start

    def _start_next(self) -> None:
        if self._stopping:
            self._is_over = True
        elif time.monotonic() >= self._start_at or self._is_repaired():
            self._start()

    def _is_repaired(self) -> bool:
        return self._code_is_broken and self._sources is not None and self._sources.has_changed()

    def _start(self) -> None:
        child = Child(self.configuration)
        register(child.worker, self.configuration)
        self._sources = SourceWatch() if settings.RELOAD else None  # before the child looks at them
        child.start()
        self.child = child
        self._code_is_broken = False
        self._killed_for, self._kill_at = "", float("inf")
        self._beat = Chore(partial(self._beat_for, child), beat_interval())
        self._rest = Chore(RestWatch(child.worker, child.activity).look, AT_ONCE)

    # Watch

    def _watch(self, child: Child) -> None:
        self._rest.run_when_due()
        self._beat.run_when_due()
        current = child.activity.current()
        if current and current.limit is not None and current.age > current.limit + GRACE:
            self._overdue = current
            self._kill("timeout")
        elif time.monotonic() > self._kill_at:
            self._kill("shutdown")

    def _beat_for(self, child: Child) -> None:
        if not beat(child.worker, child.process.pid, child.activity):
            logger.warning("Worker %s was declared dead; a new one takes its place", child.worker)
            self._kill("lost")

    def _kill(self, why: str) -> None:
        if self.child and not self._killed_for:
            self._killed_for = why
            self.child.kill()

    # Bury

    def _bury(self, child: Child, code: int) -> None:
        current = child.activity.current()
        bury(child.worker, current.id if current else None, self._verdict(current, code))
        was_ready = child.activity.is_ready
        child.close()
        self.child = None
        self._decide_what_next(child, code, was_ready, died_at_work=bool(current))

    def _verdict(self, current: Current | None, code: int) -> Callable[[DelayedJob], None] | None:
        """What becomes of the job that was in hand: None gives it back with its attempt."""
        if current is None:
            return None
        if not self._killed_for:
            return partial(crash, why=f"its worker {_how(code)}")
        if self._killed_for == "timeout" and self._overdue and self._overdue.id == current.id:
            return partial(time_out, limit=self._overdue.limit or AT_ONCE)
        return None

    def _decide_what_next(self, child: Child, code: int, was_ready: bool, died_at_work: bool) -> None:
        if code == DONE and not died_at_work and not self.configuration.sleep_delay:
            self._is_over = True
        if self._stopping or self._killed_for or (was_ready and code in (DONE, CODE_HAS_CHANGED)):
            return
        logger.error("Worker %s %s", child.worker, _how(code))
        if time.monotonic() - child.started > STEADY:
            self._waits = pauses()
        pause = next(self._waits)
        # Jobs that kill their workers are soon given up, and those behind them should not wait for it.
        self._start_at = time.monotonic() + (min(pause, AFTER_A_CRASH) if died_at_work else pause)
        if settings.RELOAD and code > 0 and not was_ready:
            logger.error("Waiting for the code to be repaired")
            self._code_is_broken = True
            self._start_at = time.monotonic() + TRY_BROKEN_CODE_AFTER


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    hint = ", perhaps out of memory" if -code == signal.SIGKILL else ""
    return f"was killed by {_name_of(-code)}{hint}"


def _name_of(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:  # a real-time signal has no name of its own
        return f"signal {signum}"
