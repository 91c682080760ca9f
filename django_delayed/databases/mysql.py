"""MySQL and MariaDB: lock with SKIP LOCKED, then update, in a READ COMMITTED transaction of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from weakref import WeakKeyDictionary

from django.db import DatabaseError, Error, models, transaction

from .base import SQL, Database, OpenTransaction, in_callers_transaction
from .lanes import Claim, Lane
from .reading import read_rows

# The user lacks PROCESS, the privilege to see transactions.
NO_PRIVILEGE = frozenset({1142, 1227})
# For each session that was asked. A session cannot change its limit.
_longest_statements: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


class MySQL(Database):
    """MariaDB 10.6 and later, MySQL 8.0.16 and later."""

    RESETS_SESSIONS = False
    # Without the hint, it would read all rows of a small table.
    BY_PRIMARY_KEY = "FORCE INDEX (PRIMARY)"
    DELETE_BY_PRIMARY_KEY = "DELETE one FROM {table} AS one FORCE INDEX (PRIMARY)"
    # Record changed since last read, lock wait timeout, deadlock, table definition changed.
    CONFLICTS = frozenset({1020, 1205, 1213, 1412})
    # Access to database, server, table, column or function denied; no such database, column, table or
    # function; collations that do not fit, a column without a default, a character not in the charset.
    PERMANENT = frozenset(
        {1044, 1045, 1142, 1143, 1227, 1370, 1698} | {1049, 1054, 1146, 1305} | {1267, 1273, 1364, 1366, 3988}
    )

    def clock(self, plus: timedelta) -> SQL:
        # Not NOW(): that is the server's local time, and what Django stores is not.
        plus += self.utc_offset(plus)
        if not plus:
            return "UTC_TIMESTAMP(6)", []
        return "(UTC_TIMESTAMP(6) + INTERVAL %s MICROSECOND)", [plus // timedelta(microseconds=1)]

    def scan_lanes(self, table: str, paused: str) -> Iterable[tuple[str, int, float, bool]]:
        now, params = self.now()
        with self.connection.cursor() as cursor:
            # `claimable` has to be in GROUP BY: without it the whole index is read, 142 ms against 0.1 ms.
            cursor.execute(
                # A zero date has no distance from now, and counts as due.
                "SELECT queue, priority,"
                f" COALESCE(TIMESTAMPDIFF(MICROSECOND, {now}, first), 0) / 1000000,"
                f" {self.is_paused(paused)} FROM"
                f" (SELECT claimable, queue, priority, MIN(run_at) AS first FROM {table}"
                " WHERE claimable = 1 GROUP BY claimable, queue, priority) lane",
                params,
            )
            return [
                (queue, priority, float(due_in), is_paused)
                for queue, priority, due_in, is_paused in cursor.fetchall()
            ]

    def take(self, rows: models.QuerySet[Any], claim: Claim, lanes: Sequence[Lane]) -> list[Any]:
        table = self.table_of(rows.model)
        ids: list[int] = []
        with self._read_committed(), self.connection.cursor() as cursor:
            for lane in lanes:
                if len(ids) < claim.limit:
                    ids += self._lock(cursor, table, lane, claim.limit - len(ids))
            if not ids:
                return []
            columns, params = self.claimed_columns(claim)
            marks = ", ".join(["%s"] * len(ids))
            # By id: `UPDATE … WHERE id IN (SELECT … SKIP LOCKED)` walks the table, 524 ms against 0.5 ms.
            cursor.execute(f"UPDATE {table} SET {columns} WHERE id IN ({marks})", [*params, *ids])
            columns = self.columns_read(claim.columns)
            return read_rows(rows, claim.columns, f"SELECT {columns} FROM {table} WHERE id IN ({marks})", ids)

    def _lock(self, cursor: Any, table: str, lane: Lane, limit: int) -> list[int]:
        now, params = self.now()
        cursor.execute(
            f"SELECT id FROM {table} WHERE claimable = 1 AND queue = %s AND priority = %s"
            f" AND run_at <= {now} ORDER BY run_at, id LIMIT %s FOR UPDATE SKIP LOCKED",
            [lane.queue, lane.priority, *params, limit],
        )
        return [pk for (pk,) in cursor.fetchall()]

    @contextmanager
    def _read_committed(self) -> Iterator[None]:
        # At REPEATABLE READ, the transaction of a claim keeps others from inserting at the head of a lane.
        # SET TRANSACTION, not SET SESSION: it holds for the next transaction only.
        if in_callers_transaction(self.connection):
            yield
            return
        if getattr(self.connection, "isolation_level", None) != "read committed":
            with self.connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        with transaction.atomic(using=self.connection.alias):
            yield

    def by_index(self, rows: models.QuerySet[Any], index: models.Index) -> models.QuerySet[Any]:
        # It uses an index anyway. For an order, it would read and sort all of them.
        return rows

    def newest_first(self, rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
        # For the order of the primary key, it may scan that key, past all rows that are not wanted. Whether
        # it does changed from one ANALYZE TABLE to the next: 0.1 or 6 s among a million rows.
        return rows.order_by((models.F("id") + 0).desc())

    def remove_held(self, table: str, worker: str, token: int, ids: Sequence[int]) -> set[int]:
        # A DELETE waits for each row that it reads, whoever has locked it, and it would read all rows of a
        # small table. So it names its index. In this form it has no RETURNING, on MariaDB either.
        condition, params = self.held_without_extras(worker, token, ids)
        with self.connection.cursor() as cursor:
            cursor.execute(f"DELETE job FROM {table} AS job FORCE INDEX (PRIMARY) WHERE {condition}", params)
            if cursor.rowcount in (0, len(ids)):
                return set(ids) if cursor.rowcount else set()
            cursor.execute(f"SELECT id FROM {table} WHERE id IN ({', '.join(['%s'] * len(ids))})", ids)
            # A row that was gone before counts as removed: it looks the same, and its job was performed.
            return set(ids).difference(pk for (pk,) in cursor.fetchall())

    def oldest_transaction(self) -> OpenTransaction | None:
        # The table has times in the server's own zone. It lists the transactions of all databases: each of
        # them keeps removed rows in all databases.
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(
                    "SELECT trx_mysql_thread_id, TIMESTAMPDIFF(MICROSECOND, trx_started,"
                    " CONVERT_TZ(NOW(6), @@session.time_zone, 'SYSTEM')) FROM information_schema.innodb_trx"
                    " WHERE trx_mysql_thread_id NOT IN (0, CONNECTION_ID()) ORDER BY trx_started LIMIT 1"
                )
                found = cursor.fetchone()
        except DatabaseError as error:
            if self.code_of(error) in NO_PRIVILEGE:
                return None
            raise
        if found is None or found[1] is None:
            return None
        return OpenTransaction(f"connection {found[0]}", timedelta(microseconds=max(0, found[1])))

    def longest_statement(self) -> int | None:
        # The server answers a longer one by closing the connection, which loses the transaction.
        self.connection.ensure_connection()
        session: Any = self.connection.connection
        if session not in _longest_statements:
            with self.connection.cursor() as cursor:
                cursor.execute("SELECT @@max_allowed_packet")
                [_longest_statements[session]] = cursor.fetchone()
        return _longest_statements[session]

    def code_of(self, error: Error) -> int | str | None:
        return error.args[0] if error.args and isinstance(error.args[0], int) else None
