"""The database connections that the code of users sees: neither the queue's, nor those of the job before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import MappingProxyType, TracebackType

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError

from ..conf import settings
from ..databases import database, in_callers_transaction
from ..databases.sessions import (
    can_be_kept,
    close,
    has_open_transaction,
    is_in_memory,
    reopened,
    reset_session,
)
from .isolation import STOP_SIGNALS, ProcessState, SignalHandlers, transactions_kept

_nothing = nullcontext()


class Session:
    """A block for the code of users: each of its connections is opened at its first query.

    So a job that makes no query opens nothing, and what a job sets on its session reaches neither the next
    job nor the statements of the queue. After the block, a session is put back and kept for the next block if
    the database can do that in one step, and closed otherwise. `close` closes those that are kept.

    The signal handlers that stop the worker are put back too, as they were when the session was made. If
    `process` is set, all of its state is put back, which includes them.

    In a caller's transaction, as in a Django TestCase, and with SQLite in memory, the present connections
    stay: others would not see what was written on them. They also stay in an `inline` session, which is for
    jobs that are performed between the caller's own statements.
    """

    def __init__(self, keeps: bool = True, inline: bool = False) -> None:
        self._keeps = keeps
        self._inline = inline
        # By their alias: the connections kept for the next block, and those that this block was given.
        self._kept: dict[str, BaseDatabaseWrapper] = {}
        self._given: dict[str, BaseDatabaseWrapper] = {}
        self._outer: Sequence[BaseDatabaseWrapper] = ()
        self._callers: list[BaseDatabaseWrapper] = []
        # By the alias of a caller's connection: how many atomic blocks are open there.
        self._callers_blocks: dict[str, int] = {}
        # Whether the code of users has the connections that are there, and no others.
        self.is_shared = False
        self._handlers = SignalHandlers(STOP_SIGNALS)
        self.process: ProcessState | None = None

    def __enter__(self) -> Session:
        outer = connections.all(initialized_only=True)
        self._callers = [one for one in outer if in_callers_transaction(one)]
        if self._inline:
            # Also those with a transaction that the caller manages by hand.
            by_hand = [one for one in outer if one not in self._callers and has_open_transaction(one)]
            self._callers += by_hand
        self.is_shared = self._inline or bool(self._callers) or any(map(is_in_memory, outer))
        if not self.is_shared:
            self._outer = outer
            for connection in outer:
                del connections[connection.alias]
            if self._kept:
                self._reopen_kept()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for connection in self.connections:
                if self.is_shared:
                    _roll_back(connection)
                else:
                    self._end(connection)
            # The sessions of connections that the block has removed.
            close(self._given.values())
        finally:
            # Even if the end of the block is interrupted: statements of the queue come next.
            self._given = {}
            _put(self._outer)
            self._outer = ()
            (self.process or self._handlers).put_back()

    @contextmanager
    def outside(self) -> Iterator[None]:
        """A block inside of this one, for a statement of the queue: the outer connections are in force."""
        if self.is_shared:
            yield
            return
        inside = _take_all()
        _put(self._outer)
        try:
            yield
        finally:
            self._outer = _take_all()
            _put(inside)

    @property
    def connections(self) -> Sequence[BaseDatabaseWrapper]:
        """The connections that are in force and not in a caller's transaction."""
        opened = connections.all(initialized_only=True)
        return [one for one in opened if one not in self._callers] if self._callers else opened

    def callers_transactions_kept(self) -> AbstractContextManager[None]:
        """A block in which a database error of the job does not break a caller's transaction."""
        if not self._callers:
            return _nothing
        self._callers_blocks = {one.alias: len(one.atomic_blocks) for one in self._callers}
        return transactions_kept(self._callers)

    def open_blocks(self) -> dict[str, int]:
        """The aliases on which a transaction is open, and how many atomic blocks are open in each."""
        opened = self.connections
        return {one.alias: len(one.atomic_blocks) for one in opened if has_open_transaction(one)}

    def blocks_of_job(self) -> set[str]:
        """The aliases on which the job has a transaction open, also one inside of a caller's."""
        known = self._callers_blocks
        inside = {one.alias for one in self._callers if len(one.atomic_blocks) > known.get(one.alias, 0)}
        return {*self.open_blocks(), *inside}

    def check_transactions(self, expected: Mapping[str, int] = MappingProxyType({})) -> None:
        """Raise TransactionManagementError for a transaction that was left open; it will be rolled back.

        Transactions that are as in `expected`, an earlier result of `open_blocks`, may stay open.
        """
        for alias, blocks in self.open_blocks().items():
            if blocks != expected.get(alias):
                raise TransactionManagementError(
                    f"The job left a transaction open on {alias!r}; what it wrote there is lost."
                )

    def disconnect(self) -> None:
        """Close the connections in force: a statement may have been interrupted in the middle."""
        close(self.connections)

    def break_off(self) -> None:
        """Close the job's connection to the database of the queue, perhaps in the middle of a statement.

        Unlike after `disconnect`, an open block on it notices that. A connection in a caller's transaction
        stays.
        """
        connection = connections[settings.DATABASE]
        if connection in self.connections:
            connection.close()

    def close(self) -> None:
        """Close the sessions that are kept for the next block; another may follow."""
        close(self._kept.values())
        self._kept = {}

    def _end(self, connection: BaseDatabaseWrapper) -> None:
        alias = connection.alias
        del connections[alias]
        given = self._given.pop(alias, None)
        if connection.connection is None:
            if given:
                # Not used, or closed by the job, which is noticed at its next use.
                self._kept[alias] = given
            return
        keeps = self._keeps and can_be_kept(connection)
        is_reset = False
        try:
            is_reset = keeps and reset_session(connection)
        finally:
            if not is_reset:
                close([connection])
        if keeps:
            self._kept[alias] = connection

    def _reopen_kept(self) -> None:
        self._given, self._kept = self._kept, {}
        for alias, connection in self._given.items():
            if connection.connection is not None and database(connection).has_lost_session():
                close([connection])
            connections[alias] = reopened(connection)


def _take_all() -> list[BaseDatabaseWrapper]:
    taken = list(connections.all(initialized_only=True))
    for connection in taken:
        del connections[connection.alias]
    return taken


def _put(taken: Sequence[BaseDatabaseWrapper]) -> None:
    for connection in taken:
        connections[connection.alias] = connection


def _roll_back(connection: BaseDatabaseWrapper) -> None:
    if has_open_transaction(connection):
        close([connection])
