"""The database connections that the code of users sees: neither the queue's, nor those of the job before."""

from __future__ import annotations

from types import TracebackType

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError

from ..databases import database, in_callers_transaction
from ..databases.sessions import (
    close,
    has_open_transaction,
    is_in_memory,
    is_ours,
    reopened,
    reset_session,
)


class Session:
    """A block for the code of users: each of its connections is opened at its first query.

    So a job that asks for nothing opens nothing, and what a job sets on its session reaches neither the next
    job nor the statements of the queue. After the block a session is put back and kept for the next block,
    where the database can do that in one step, and closed otherwise. `close` closes those that are kept.

    In a caller's transaction, as in a Django TestCase, and with SQLite in memory, the connections stay that
    are there: others would not see what was written on them.
    """

    def __init__(self, keeps: bool = True) -> None:
        self._keeps = keeps
        self._kept: dict[str, BaseDatabaseWrapper] = {}
        # Found once: to ask Django's handler what is in force costs microseconds, and a block is entered for
        # each job. Between two blocks the same connections are in force.
        self._outer: list[BaseDatabaseWrapper] = []
        self._is_in_memory = False
        self._callers: list[str] = []
        self._is_shared = False

    def __enter__(self) -> Session:
        if not self._outer:
            self._outer = list(connections.all(initialized_only=True))
            self._is_in_memory = any(map(is_in_memory, self._outer))
        self._callers = [one.alias for one in self._outer if in_callers_transaction(one)]
        self._is_shared = self._is_in_memory or bool(self._callers)
        if not self._is_shared:
            for connection in self._outer:
                del connections[connection.alias]
            if self._kept:
                self._reopen_kept()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self.connections:
            if self._is_shared:
                _roll_back(connection)
            else:
                self._end(connection)
        for connection in self._outer:
            connections[connection.alias] = connection
            # With DEBUG on, each connection remembers its last 9,000.
            connection.queries_log.clear()

    @property
    def connections(self) -> list[BaseDatabaseWrapper]:
        """The connections that are in force and not in a caller's transaction."""
        return [
            connection
            for connection in connections.all(initialized_only=True)
            if connection.alias not in self._callers
        ]

    def check_transactions(self) -> None:
        """Raise TransactionManagementError for a transaction that was left open; it will be rolled back."""
        for connection in self.connections:
            if has_open_transaction(connection):
                raise TransactionManagementError(
                    f"The job left a transaction open on {connection.alias!r}; what it wrote there is lost."
                )

    def disconnect(self) -> None:
        """Close the connections in force: a statement may have been interrupted in the middle."""
        close(self.connections)

    def close(self) -> None:
        """Close the sessions that are kept for the next block; another may follow."""
        close(self._kept.values())
        self._kept = {}

    def _end(self, connection: BaseDatabaseWrapper) -> None:
        del connections[connection.alias]
        if connection.connection is None:
            return
        keeps = self._keeps and is_ours(connection)
        if not (keeps and reset_session(connection)):
            close([connection])
        if keeps:
            self._kept[connection.alias] = connection

    def _reopen_kept(self) -> None:
        for alias, connection in self._kept.items():
            if connection.connection is not None and database(connection).has_lost_session():
                close([connection])
            connections[alias] = reopened(connection)


def _roll_back(connection: BaseDatabaseWrapper) -> None:
    if has_open_transaction(connection):
        close([connection])
