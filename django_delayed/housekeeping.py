"""What a job finds is what the next one finds: connections, transactions and signals are put back."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from django.db import Error as DatabaseTrouble
from django.db import connections, reset_queries
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError

logger = logging.getLogger("django_delayed")

SIGNALS = (signal.SIGTERM, signal.SIGINT)  # those that stop a worker


def own_connections() -> list[BaseDatabaseWrapper]:
    """Connections outside any transaction; one inside belongs to a caller (a test), and is left alone."""
    return [connection for connection in connections.all() if not connection.in_atomic_block]


def check_transactions(own: Iterable[BaseDatabaseWrapper]) -> None:
    """Raise for a transaction that a job has left open: what it wrote there is about to be rolled back."""
    for connection in own:
        if _is_open(connection):
            raise TransactionManagementError(
                f"The job left a transaction open on {connection.alias!r}; what it wrote there is lost."
            )


def tidy(own: Iterable[BaseDatabaseWrapper]) -> None:
    """Make the connections as good as new for the next job, without connecting anew for each."""
    reset_queries()  # with DEBUG on, each connection remembers its last 9,000
    for connection in own:
        if _is_open(connection):
            close([connection])
        elif connection.connection and (
            connection.errors_occurred or connection.settings_dict["CONN_MAX_AGE"] != 0
        ):
            # With Django's default CONN_MAX_AGE of 0 this would connect anew for every job.
            connection.close_if_unusable_or_obsolete()
        connection.health_check_done = False  # type: ignore[attr-defined]  # with CONN_HEALTH_CHECKS, a job asks anew as a request does


def drop_broken(own: Iterable[BaseDatabaseWrapper]) -> None:
    """Close the connections that have broken while nobody used them: they are not the next job's fault."""
    for connection in own:
        if connection.connection is not None and not connection.is_usable():
            close([connection])


def close(own: Iterable[BaseDatabaseWrapper]) -> None:
    """Close the connections, whatever state they are in."""
    for connection in own:
        # Inside a transaction, Django would keep it as closed until the block is left, and nobody leaves it.
        connection.in_atomic_block = False
        try:
            connection.close()
        except Exception:
            logger.exception("The connection %r could not be closed", connection.alias)
        connection.connection = None


@contextmanager
def transactions_kept() -> Iterator[None]:
    """In a transaction of the caller (a test), an error in the block does not cost that transaction."""
    inside = [
        connection for connection in connections.all(initialized_only=True) if connection.in_atomic_block
    ]
    savepoints = [(connection, savepoint) for connection in inside if (savepoint := connection.savepoint())]
    try:
        yield
    finally:
        for connection, savepoint in savepoints:
            try:
                connection.savepoint_commit(savepoint)
            except DatabaseTrouble:
                connection.needs_rollback = False
                connection.savepoint_rollback(savepoint)


@contextmanager
def signals_kept() -> Iterator[None]:
    """Give the worker its signals back after the block: without them, it could no longer be stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
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


def _is_open(connection: BaseDatabaseWrapper) -> bool:
    if connection.connection is None:
        return False
    return connection.in_atomic_block or not connection.get_autocommit()
