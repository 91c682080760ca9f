"""Put back after each job what is the process's: a caller's transaction, signal handlers."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from django.db import Error as DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def transactions_kept(inside: Iterable[BaseDatabaseWrapper]) -> Iterator[None]:
    """A block in which a database error of the job does not cost a caller their transaction."""
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


class StopHandlers:
    """The handlers of the signals by which a worker is stopped, as they are when this is made."""

    def __init__(self) -> None:
        self._is_main = threading.current_thread() is threading.main_thread()
        if self._is_main:
            self._handlers = [(number, signal.getsignal(number)) for number in STOP_SIGNALS]
            self._wakeup = signal.set_wakeup_fd(-1)
            signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)

    def put_back(self) -> None:
        """Install them again where a job has replaced them: without them, the worker cannot be stopped."""
        if not (self._is_main and threading.current_thread() is threading.main_thread()):
            return
        for number, handler in self._handlers:
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
