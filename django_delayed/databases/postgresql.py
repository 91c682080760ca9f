"""PostgreSQL: SKIP LOCKED in one statement with UPDATE … RETURNING."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.db import DatabaseError, transaction

from .base import SQL, Database, Lane

PASSING = {"40001", "40P01", "55P03"}  # serialization failure, deadlock, lock not available


class PostgreSQL(Database):
    """PostgreSQL 14 and later."""

    def now(self, plus: timedelta = timedelta(0)) -> SQL:
        # Not now(): inside a long transaction that is the time at which the transaction began.
        if not plus:
            return "statement_timestamp()", []
        return "statement_timestamp() + make_interval(secs => %s)", [plus.total_seconds()]

    def scan_lanes(self) -> Iterable[tuple[str, int, float]]:
        # A loose index scan: each step seeks the first entry behind the lane before it.
        head = f"SELECT queue, priority, run_at FROM {self.table} WHERE claimable = 1"
        order = "ORDER BY queue, priority, run_at LIMIT 1"
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"WITH RECURSIVE lane AS (({head} {order}) UNION ALL"
                f" SELECT following.* FROM lane CROSS JOIN LATERAL ({head}"
                f" AND (queue, priority) > (lane.queue, lane.priority) {order}) following)"
                " SELECT queue, priority, EXTRACT(EPOCH FROM run_at - statement_timestamp())::float FROM lane"
            )
            return cursor.fetchall()

    def take(self, worker: str, lanes: Sequence[Lane], limit: int) -> list[Any]:
        columns, params = self.claim_columns(worker, limit)
        values = ", ".join(["(%s::text, %s::integer)"] * len(lanes))
        names = [part for lane in lanes for part in (lane.queue, lane.priority)]
        # MATERIALIZED is a fence: a planner free to inline the LIMIT may run it twice and lock too many rows.
        statement = (
            f"WITH picked AS MATERIALIZED (SELECT due.id FROM (VALUES {values}) lane (queue, priority)"
            f" CROSS JOIN LATERAL (SELECT id FROM {self.table} WHERE claimable = 1 AND queue = lane.queue"
            " AND priority = lane.priority AND run_at <= statement_timestamp()"
            " ORDER BY run_at, id LIMIT %s FOR UPDATE SKIP LOCKED) due LIMIT %s)"
            f" UPDATE {self.table} AS job SET {columns}"
            " FROM picked WHERE job.id = picked.id RETURNING job.*"
        )
        rows = self.model._base_manager.db_manager(self.connection.alias)
        with self._ordered_by_the_index(limit):
            return list(rows.raw(statement, [*names, limit, limit, *params]))

    @contextmanager
    def _ordered_by_the_index(self, limit: int) -> Iterator[None]:
        # After a flood, before ANALYZE, the planner takes a lane for so short that it sorts the whole of it,
        # 14 ms for 50,000 rows; with LIMIT 1 it never does. A caller's transaction keeps its own settings.
        if limit == 1 or self.connection.in_atomic_block:
            yield
            return
        with transaction.atomic(using=self.connection.alias):
            with self.connection.cursor() as cursor:
                cursor.execute("SET LOCAL enable_sort = off")
            yield

    def is_passing(self, error: DatabaseError) -> bool:
        cause = error.__cause__
        code = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)  # the latter is psycopg2's
        return code in PASSING
