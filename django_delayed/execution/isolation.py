"""Put back after each job what is the process's: a caller's transaction, signal handlers."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error as DatabaseError
from django.db import connections

from ..databases import in_callers_transaction

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def callers_transactions_kept() -> Iterator[None]:
    """A block in which a database error of the job does not cost a caller their transaction."""
    inside = [connection for connection in connections.all(True) if in_callers_transaction(connection)]
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


@contextmanager
def signals_kept() -> Iterator[None]:
    """A block after which the worker has its signal handlers back; without them, it cannot be stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    wakeup = _wakeup_fd()
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
        if _wakeup_fd() != wakeup:
            signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)


def _wakeup_fd() -> int:
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    return fd
