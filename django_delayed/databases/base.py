"""What each database does in its own way, and what all do alike: repeat a statement after a conflict."""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, ClassVar, NamedTuple, TypeVar

from django.db import DatabaseError, Error, ProgrammingError, models
from django.db.backends.base.base import BaseDatabaseWrapper

from .lanes import LARGEST_PAYLOAD, Claim, Lane
from .watches import Looks, Watch

T = TypeVar("T")
SQL = tuple[str, list[Any]]

# The condition for rows that are removed without a trace when their jobs have been performed.
PLAIN = "extras = 0 AND keep_for IS NULL"
# A field, and its value in each of several rows.
Column = tuple[Any, list[Any]]
# The source of rows to insert: how each column is selected, the FROM, and its parameters.
Source = tuple[list[str], str, list[Any]]

# Tries of a statement that meets deadlocks or locks. The pauses between them take about 15 s at most.
TRIES = 12


class OpenTransaction(NamedTuple):
    """A transaction of another session: which session, in words, and for how long it has been open."""

    session: str
    age: timedelta


def in_callers_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Whether the caller has a transaction open on the connection, as in a Django TestCase.

    Outside of one, we repeat statements, open transactions of our own, set their isolation, and close
    connections that are broken. Inside of one we do none of that. After a deadlock or a lost connection,
    the transaction is gone with everything that the caller did in it, so the caller has to see the error.
    And no other thread or process would see what we wrote.
    """
    return connection.in_atomic_block


class Database(ABC):
    """One kind of database behind one connection. Times are those of the database's own clock.

    CONFLICTS are the codes of errors after which the same statement may succeed in a moment: deadlocks,
    locks, serialization failures. PERMANENT are those after which it fails until somebody repairs something:
    missing columns and privileges, a file that is read-only, a charset that lacks a character.
    """

    CONFLICTS: ClassVar[frozenset[int | str]]
    PERMANENT: ClassVar[frozenset[int | str]]
    # Whether jobs can use a session one after the other.
    RESETS_SESSIONS: ClassVar[bool] = True
    # Whether the statement of a claim can remove a row of an earlier one.
    CLAIM_REMOVES: ClassVar[bool] = False
    # The SQL function that returns the bytes of a text without reading it.
    BYTES_OF = "octet_length"
    # Makes a statement read only the rows of its primary keys, as it waits for each row that it reads.
    BY_PRIMARY_KEY = ""
    DELETE_BY_PRIMARY_KEY = "DELETE FROM {table}"
    # How far the clock of every database is set ahead in this process: see `virtual_time`.
    ahead: ClassVar[timedelta] = timedelta(0)

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    def now(self, plus: timedelta = timedelta(0)) -> SQL:
        """The database's now as SQL, in the form in which Django stores a datetime there."""
        return self.clock(plus + self.ahead)

    @abstractmethod
    def clock(self, plus: timedelta) -> SQL:
        """As `now`, without virtual time. Only `now` calls it."""

    @abstractmethod
    def scan_lanes(self, table: str, paused: str) -> Iterable[tuple[str, int, float, bool]]:
        """Each lane of the table, the seconds until its first row is due, and whether its queue is paused.

        The cost grows with the number of lanes, not with the number of rows.
        """

    @abstractmethod
    def take(self, rows: models.QuerySet[Any], claim: Claim, lanes: Sequence[Lane]) -> list[Any]:
        """Claim due rows of these lanes, in the order of the lanes. Returns them in no order."""

    def by_index(self, rows: models.QuerySet[Any], index: models.Index) -> models.QuerySet[Any]:
        """These rows in the order of this index, so that a query for some of them uses the index.

        Without an order, SQLite may scan the table, and so may PostgreSQL until the index is vacuumed: to
        find the first 10,000 rows it read half a million others.
        """
        return rows.order_by(*index.fields)

    def newest_first(self, rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
        """These rows, the newest first, for a query that finds them by an index and reads only some."""
        return rows.order_by("-id")

    def remove_held(self, table: str, worker: str, token: int, ids: Sequence[int]) -> set[int]:
        """Remove those rows of a claim that leave nothing behind. Returns the ids of the removed rows."""
        condition, params = self.held_without_extras(worker, token, ids)
        with self.connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {table} WHERE {condition} RETURNING id", params)
            return {pk for (pk,) in cursor.fetchall()}

    def held_without_extras(self, worker: str, token: int, ids: Sequence[int]) -> SQL:
        """The condition for `remove_held`."""
        marks = ", ".join(["%s"] * len(ids))
        return f"id IN ({marks}) AND locked_by = %s AND lock_token = %s AND {PLAIN}", [*ids, worker, token]

    @abstractmethod
    def code_of(self, error: Error) -> int | str | None:
        """The code that the database gave the error; None if it comes from elsewhere, such as the network."""

    def is_conflict(self, error: Error) -> bool:
        """Whether the same statement may succeed in a moment."""
        return self.code_of(error) in self.CONFLICTS

    def is_permanent(self, error: Error) -> bool:
        """Whether the same statement fails until somebody repairs something."""
        return isinstance(error, ProgrammingError) or self.code_of(error) in self.PERMANENT

    def longest_statement(self) -> int | None:
        """The most bytes that the server takes as one statement; None where no payload comes near."""
        return None

    def source_of(self, columns: Sequence[Column]) -> Source | None:
        """The source of an INSERT of rows that differ in these columns; None where VALUES do as well."""
        return None

    def oldest_transaction(self) -> OpenTransaction | None:
        """The longest open transaction of another session that makes the database keep removed rows.

        None where there is none, or the database does not tell.
        """
        return None

    # Idle workers

    def watch(self, is_one_due: Callable[[], bool]) -> Watch:
        """What tells an idle worker, on this connection, that rows were written."""
        return Looks(is_one_due)

    def wake_with_insert(self) -> str:
        """Wake idle workers once an INSERT is committed. Returns SQL that the INSERT has to return, or ""."""
        self.wake_workers()
        return ""

    def wake_workers(self) -> None:
        """Wake idle workers once what was written is committed, where the database can."""
        return None

    # Sessions that jobs use one after the other

    def open_session(self, open: Callable[[Any], Any], params: Any) -> Any:
        """The driver's connection that `open` returns for the params."""
        return open(params)

    def has_open_transaction(self) -> bool:
        """Whether the driver knows of an open transaction, which a statement may have begun."""
        return False

    def reset_session(self) -> bool:
        """Undo all that was set on the open session, and free its locks. False if that cannot be done."""
        return False

    def has_lost_session(self) -> bool:
        """Whether a session that was reset has been closed since."""
        return True

    def is_paused(self, paused: str) -> str:
        """Whether the queue of `lane` is in this table, as SQL."""
        return f"lane.queue IN (SELECT queue FROM {paused})"

    def table_of(self, model: type[models.Model]) -> str:
        """The quoted name of the model's table."""
        return self.connection.ops.quote_name(model._meta.db_table)

    def repeat_on_conflict(self, operation: Callable[[], T]) -> T:
        """The operation's result. It is run again after a conflict, unless in a caller's transaction.

        Raises the conflict after TRIES tries.
        """
        if in_callers_transaction(self.connection):
            return operation()
        for tried in range(1, TRIES):
            try:
                return operation()
            except DatabaseError as error:
                if not self.is_conflict(error):
                    raise
                time.sleep(random.uniform(0, min(0.005 * 2**tried, 5)))
        return operation()

    def claimed_columns(self, claim: Claim) -> SQL:
        """The SET of a claim. A row claimed alone starts now; the rows of a batch wait for their turn."""
        now, params = self.now()
        started, started_params = (now, params) if claim.limit == 1 else ("NULL", [])
        columns = (
            f"claimable = NULL, locked_at = {now}, started_at = {started}, locked_by = %s,"
            " lock_token = %s, attempts = attempts + 1"
        )
        return columns, [*params, *started_params, claim.worker, claim.token]

    @classmethod
    @cache
    def columns_read(cls, columns: Sequence[str], prefix: str = "") -> str:
        """These columns, as a claim reads them."""
        payload = f"{prefix}payload"
        read = {name: f"{prefix}{name}" for name in columns}
        if_small = f"CASE WHEN {cls.BYTES_OF}({payload}) <= {LARGEST_PAYLOAD} THEN {payload} END"
        return ", ".join((read | {"payload": f"{if_small} AS payload"}).values())

    def utc_offset(self, plus: timedelta) -> timedelta:
        """How far the datetime that Django stores for now + `plus` is from UTC on this connection.

        0, except with USE_TZ=False or a TIME_ZONE of the alias; there it may change between now and then.
        """
        then = datetime.now(UTC) + plus
        return then.astimezone(self.connection.timezone).utcoffset() or timedelta(0)
