"""Put back the state of the process after a job: a caller's transaction, signal handlers, the environment."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import threading
import time

# signal.getsignal() makes an enum of what it returns, which takes twenty times as long.
from _signal import getsignal  # type: ignore[import-not-found]
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from django.db import Error as DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from ..serialization.errors import printable
from ..signals import fields_of

if TYPE_CHECKING:
    from ..models import DelayedJob

logger = logging.getLogger("django_delayed")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
STREAMS = (0, 1, 2)
# The signals that a program can handle.
_SIGNALS = [number for number in signal.Signals if number.name not in ("SIGKILL", "SIGSTOP")]
_MOST_NAMES = 10  # of threads in one line of the log


@contextmanager
def transactions_kept(inside: Iterable[BaseDatabaseWrapper]) -> Iterator[None]:
    """A block in which a database error of the job does not break a caller's transaction."""
    savepoints = [(connection, savepoint) for connection in inside if (savepoint := connection.savepoint())]
    try:
        yield
    finally:
        for connection, savepoint in savepoints:
            try:
                connection.savepoint_commit(savepoint)
            except DatabaseError:
                connection.needs_rollback = False
                connection.savepoint_rollback(savepoint)


class SignalHandlers:
    """The handlers of these signals, and the fd that wakes a worker, as they are when this is made."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = numbers
        self._is_main = is_main_thread()
        if self._is_main:
            self._handlers = list(map(getsignal, numbers))
            self._wakeup = signal.set_wakeup_fd(-1)
            signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)

    def put_back(self) -> None:
        """Install them again where a job has replaced them: without them, the worker cannot be stopped."""
        if not (self._is_main and is_main_thread()):
            return
        if list(map(getsignal, self._numbers)) != self._handlers:
            self._install()
        signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)

    def _install(self) -> None:
        for number, handler in zip(self._numbers, self._handlers, strict=True):
            # None: the handler was not set by Python, so Python cannot restore it.
            if handler is None or getsignal(number) is handler:
                continue
            signal.signal(number, handler)
            # The handlers of faulthandler are beneath those of Python, and are replaced with them.
            if faulthandler.unregister(number):  # type: ignore[func-returns-value]
                with suppress(OSError, ValueError, RuntimeError):
                    faulthandler.register(number)


class ProcessState:
    """The state that the threads of the process share, as it is when this is made.

    The working directory, the umask, the environment, the handlers of all signals, and the standard streams
    if a job closes them. For a process that performs only in its main thread: `put_back` would change the
    state while a job of another thread runs. If nothing has changed, it takes three microseconds.
    """

    def __init__(self) -> None:
        self._directory = _directory()
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._environ = os.environ
        # The encoded content of os.environ: comparing it takes a tenth of the time of comparing the values.
        self._encoded = dict(_encoded(os.environ))
        self._variables = dict(os.environ)
        self._handlers = SignalHandlers(_SIGNALS)
        # For each open stream, its number and a copy of its descriptor.
        self._streams = [(number, os.dup(number)) for number in STREAMS if _is_open(number)]

    def put_back(self) -> None:
        """Put back what a job has changed."""
        self._handlers.put_back()
        # Set without a look: a look takes two calls, and between them another mask is in force.
        os.umask(self._umask)
        if self._directory is not None and _directory() != self._directory:
            self._put_back_directory(self._directory)
        if os.environ is not self._environ or _encoded(os.environ) != self._encoded:
            self._put_back_environment()
        for number, copy in self._streams:
            if not _is_open(number):
                # The next connection would get its number, and what is written to the stream.
                with suppress(OSError):
                    os.dup2(copy, number)

    def close(self) -> None:
        """Free the copies of the streams; no stream can be put back any more."""
        for _, copy in self._streams:
            with suppress(OSError):
                os.close(copy)
        self._streams = []

    def _put_back_directory(self, directory: str) -> None:
        try:
            os.chdir(directory)
        except OSError as error:
            logger.warning("The working directory %r cannot be put back: %s", directory, error)
            self._directory = None

    def _put_back_environment(self) -> None:
        # A job may have put a plain dict in its place.
        os.environ = self._environ  # noqa: B003
        before, now = self._variables, dict(os.environ)
        for name in now.keys() - before.keys():
            del os.environ[name]
        for name, value in before.items():
            if now.get(name) != value:
                os.environ[name] = value
        # Windows has no workers, and no tzset.
        if now.get("TZ") != before.get("TZ") and hasattr(time, "tzset"):
            time.tzset()


class LeftThreads:
    """The threads that jobs leave running. Those that run when this is made belong to the process."""

    def __init__(self) -> None:
        self._known = set(threading.enumerate())

    def report(self, row: DelayedJob) -> None:
        """Log the threads that the job of this row has left running, each once.

        The level is WARNING, as the process cannot end before they do, or INFO if it can.
        """
        if threading.active_count() == len(self._known):
            return
        running = set(threading.enumerate())
        left, self._known = running - self._known, running
        if left:
            names = sorted(printable(thread.name) for thread in left)
            named = ", ".join(names[:_MOST_NAMES])
            more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
            level = logging.INFO if all(thread.daemon for thread in left) else logging.WARNING
            extra: dict[str, Any] = {**fields_of(row), "threads": names}
            logger.log(level, "%s has left threads running: %s%s", row, named, more, extra=extra)


def is_main_thread() -> bool:
    """Whether this is the thread that handles the signals of the process."""
    return threading.current_thread() is threading.main_thread()


def _directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        # It was removed.
        return None


def _encoded(environ: Any) -> Any:
    return getattr(environ, "_data", environ)


def _is_open(number: int) -> bool:
    try:
        os.get_inheritable(number)
    except OSError:
        return False
    return True
