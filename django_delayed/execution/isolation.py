"""Put the process back after each job: connections, transactions, signal handlers."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from django.db import Error as DatabaseError
from django.db import connections, reset_queries
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError

from ..databases import in_callers_transaction

logger = logging.getLogger("django_delayed")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def connections_of_worker() -> list[BaseDatabaseWrapper]:
    """The connections that are the worker's to reset: all that are not in a caller's transaction."""
    return [connection for connection in connections.all() if not in_callers_transaction(connection)]


def check_transactions(owned: Iterable[BaseDatabaseWrapper]) -> None:
    """Raise TransactionManagementError for a transaction that a job has left open; it will be rolled back."""
    for connection in owned:
        if _has_open_transaction(connection):
            raise TransactionManagementError(
                f"The job left a transaction open on {connection.alias!r}; what it wrote there is lost."
            )


def reset(owned: Iterable[BaseDatabaseWrapper]) -> None:
    """Put the connections back for the next job, without connecting again for each."""
    # With DEBUG on, each connection remembers its last 9,000.
    reset_queries()
    for connection in owned:
        if _has_open_transaction(connection):
            close([connection])
        elif connection.connection and (
            connection.errors_occurred or connection.settings_dict["CONN_MAX_AGE"] != 0
        ):
            # With Django's default CONN_MAX_AGE of 0 this would connect again for every job.
            connection.close_if_unusable_or_obsolete()
        # With CONN_HEALTH_CHECKS, Django's close_if_health_check_failed() then checks the connection once a
        # job, as it does once a request.
        connection.health_check_done = False  # type: ignore[attr-defined]


def close_broken(owned: Iterable[BaseDatabaseWrapper]) -> None:
    """Close the connections that broke while they were idle, so that the next job does not meet the error."""
    for connection in owned:
        if connection.connection is not None and not connection.is_usable():
            close([connection])


def close(owned: Iterable[BaseDatabaseWrapper]) -> None:
    """Close the connections, whatever state they are in."""
    for connection in owned:
        # In an atomic block, BaseDatabaseWrapper.close() keeps the closed connection until the block is left,
        # and the job's blocks were left without their __exit__.
        connection.in_atomic_block = False
        try:
            connection.close()
        except Exception:
            logger.exception("The connection %r could not be closed", connection.alias)
        connection.connection = None


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


def _has_open_transaction(connection: BaseDatabaseWrapper) -> bool:
    if connection.connection is None:
        return False
    return connection.in_atomic_block or not connection.get_autocommit()
