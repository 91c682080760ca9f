"""SQLite: one UPDATE … RETURNING, so that a claim never has to upgrade a read lock."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

from django.db import Error, models

from .base import SQL, Database
from .lanes import LANES_INDEX, Claim, Lane
from .reading import read_rows
from .sqlite_session import WatchedSession
from .watches import DataVersion, Watch

# The queries name the index: after ANALYZE, SQLite would build one of its own over all rows at each claim,
# 21.6 ms for 20,000 rows instead of 43 µs.
BY_LANES = f"INDEXED BY {LANES_INDEX}"


class SQLite(Database):
    """SQLite 3.35 and later (RETURNING)."""

    CONFLICTS = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
    # SQLITE_ERROR is a statement that does not fit the tables.
    PERMANENT = frozenset(
        {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH}
        | {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
    )

    # octet_length() came with 3.43. A payload is ASCII.
    BYTES_OF = "length"

    def clock(self, plus: timedelta) -> SQL:
        plus += self.utc_offset(plus)
        if not plus:
            return "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')", []
        return "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', %s)", [f"{plus.total_seconds():+.6f} seconds"]

    def scan_lanes(self, table: str, paused: str) -> Iterable[tuple[str, int, float, bool]]:
        # Scalar min() seeks the index once a step. GROUP BY or a row value reads all of it, in 90 ms.
        first = f"FROM {table} {BY_LANES} WHERE claimable = 1"
        now, params = self.now()
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"WITH RECURSIVE served(queue) AS (SELECT min(queue) {first} UNION ALL"
                f" SELECT (SELECT min(queue) {first} AND queue > served.queue) FROM served"
                " WHERE served.queue IS NOT NULL),"
                " lane(queue, priority) AS (SELECT queue,"
                f" (SELECT min(priority) {first} AND queue = served.queue)"
                " FROM served WHERE queue IS NOT NULL UNION ALL SELECT queue,"
                f" (SELECT min(priority) {first} AND queue = lane.queue AND priority > lane.priority)"
                " FROM lane WHERE priority IS NOT NULL)"
                " SELECT queue, priority, (julianday((SELECT min(run_at)"
                f" {first} AND queue = lane.queue AND priority = lane.priority)) - julianday({now})) * 86400,"
                f" {self.is_paused(paused)} FROM lane WHERE priority IS NOT NULL",
                params,
            )
            return cursor.fetchall()

    def take(self, rows: models.QuerySet[Any], claim: Claim, lanes: Sequence[Lane]) -> list[Any]:
        table = self.table_of(rows.model)
        columns, params = self.claimed_columns(claim)
        now, now_params = self.now()
        due = (
            f"SELECT id FROM (SELECT id FROM {table} {BY_LANES}"
            f" WHERE claimable = 1 AND queue = %s AND priority = %s AND run_at <= {now}"
            " ORDER BY run_at, id LIMIT %s)"
        )
        for lane in lanes:
            params += [lane.queue, lane.priority, *now_params, claim.limit]
        statement = (
            f"UPDATE {table} SET {columns} WHERE id IN (SELECT id FROM"
            f" ({' UNION ALL '.join([due] * len(lanes))}) LIMIT %s)"
            f" RETURNING {self.columns_read(claim.columns)}"
        )
        return read_rows(rows, claim.columns, statement, [*params, claim.limit])

    def code_of(self, error: Error) -> int | str | None:
        # The primary code, without its extension: SQLITE_BUSY for SQLITE_BUSY_SNAPSHOT too.
        return getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF or None

    def watch(self, is_one_due: Callable[[], bool]) -> Watch:
        return DataVersion(self.connection)

    def open_session(self, open: Callable[[Any], Any], params: Any) -> Any:
        driver: Any = self.connection.Database  # type: ignore[attr-defined]
        if driver.Connection is not sqlite3.Connection or "factory" in params:
            return open(params)
        session = open({**params, "factory": WatchedSession})
        session.watch()
        return session

    def reset_session(self) -> bool:
        session = self.connection.connection
        # On a session that the job has closed, has_changed would raise an error.
        return isinstance(session, WatchedSession) and not self.has_lost_session() and not session.has_changed

    def has_open_transaction(self) -> bool:
        try:
            return bool(self.connection.connection.in_transaction)
        except sqlite3.ProgrammingError:
            # It is closed.
            return False

    def has_lost_session(self) -> bool:
        try:
            _ = self.connection.connection.total_changes
        except sqlite3.ProgrammingError:
            return True
        return False
