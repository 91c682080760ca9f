"""PostgreSQL: SKIP LOCKED in one statement with UPDATE … RETURNING."""

from __future__ import annotations

import json
import logging
import select
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.db import Error, models, transaction

from .base import PLAIN, SQL, Column, Database, OpenTransaction, Source, in_callers_transaction
from .lanes import Claim, Lane, Removal
from .reading import make_rows, read_rows
from .transactions import is_in_testcase
from .watches import CHANNEL, LOOK_EVERY, Notifications, Watch, take_turn

logger = logging.getLogger("django_delayed")


def _time_as_text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(value)


_column_encoder = json.JSONEncoder(ensure_ascii=False, default=_time_as_text)


class PostgreSQL(Database):
    """PostgreSQL 14 and later."""

    # Serialization failure, deadlock, lock not available.
    CONFLICTS = frozenset({"40001", "40P01", "55P03"})
    # Beside those that are a ProgrammingError: a refused role or password, a limit of the server exceeded.
    PERMANENT = frozenset({"28000", "28P01", "54000", "54001", "54011", "54023"})
    CLAIM_REMOVES = True

    def clock(self, plus: timedelta) -> SQL:
        # Not now(): inside a long transaction that is the time at which the transaction began.
        if not plus:
            return "statement_timestamp()", []
        return "statement_timestamp() + make_interval(secs => %s)", [plus.total_seconds()]

    def scan_lanes(self, table: str, paused: str) -> Iterable[tuple[str, int, float, bool]]:
        # A loose index scan: each step seeks the first entry after the previous lane. The bounds are for
        # -infinity and infinity, which have no distance from now.
        head = f"SELECT queue, priority, run_at FROM {table} WHERE claimable = 1"
        order = "ORDER BY queue, priority, run_at LIMIT 1"
        now, params = self.now()
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"WITH RECURSIVE lane AS (({head} {order}) UNION ALL"
                f" SELECT following.* FROM lane CROSS JOIN LATERAL ({head}"
                f" AND (queue, priority) > (lane.queue, lane.priority) {order}) following)"
                " SELECT queue, priority, EXTRACT(EPOCH FROM LEAST(GREATEST(run_at, '1000-01-01'),"
                f" '9999-01-01') - ({now}))::float, {self.is_paused(paused)} FROM lane",
                params,
            )
            return cursor.fetchall()

    def take(self, rows: models.QuerySet[Any], claim: Claim, lanes: Sequence[Lane]) -> list[Any]:
        table, limit = self.table_of(rows.model), claim.limit
        columns, params = self.claimed_columns(claim)
        values = ", ".join(["(%s::text, %s::integer)"] * len(lanes))
        returned = self.columns_read(claim.columns, "job.")
        names = [part for lane in lanes for part in (lane.queue, lane.priority)]
        now, now_params = self.now()
        # MATERIALIZED keeps the planner from inlining the LIMIT: it may run it twice and lock too many rows.
        picked = (
            f"picked AS MATERIALIZED (SELECT due.id FROM (VALUES {values}) lane (queue, priority)"
            f" CROSS JOIN LATERAL (SELECT id FROM {table} WHERE claimable = 1 AND queue = lane.queue"
            f" AND priority = lane.priority AND run_at <= {now}"
            " ORDER BY run_at, id LIMIT %s FOR UPDATE SKIP LOCKED) due LIMIT %s)"
        )
        update = (
            f"UPDATE {table} AS job SET {columns} FROM picked WHERE job.id = picked.id RETURNING {returned}"
        )
        params = [*names, *now_params, limit, limit, *params]
        with self._ordered_by_the_index(limit):
            if removal := claim.removal:
                return self._remove_and_take(rows, claim, removal, f"{picked}, taken AS ({update})", params)
            return read_rows(rows, claim.columns, f"WITH {picked} {update}", params)

    def _remove_and_take(
        self, rows: models.QuerySet[Any], claim: Claim, removal: Removal, taken: str, params: list[Any]
    ) -> list[Any]:
        table = self.table_of(rows.model)
        held, held_params = self.held_without_extras(claim.worker, removal.token, [removal.id])
        # The removed row is none of the waiting ones. The LEFT JOIN returns a row even if none was taken.
        statement = (
            f"WITH removed AS (DELETE FROM {table} WHERE {held} RETURNING id), {taken}"
            " SELECT taken.*, counted.number FROM (SELECT count(*) AS number FROM removed) counted"
            " LEFT JOIN taken ON TRUE"
        )
        removal.is_done = None
        with self.connection.cursor() as cursor:
            cursor.execute(statement, [*held_params, *params])
            fetched = cursor.fetchall()
        removal.is_done = bool(fetched[0][-1])
        return make_rows(rows, claim.columns, [values[:-1] for values in fetched if values[0] is not None])

    def held_without_extras(self, worker: str, token: int, ids: Sequence[int]) -> SQL:
        # One parameter for all ids: the statement is the same for any number of them.
        held = f"id = ANY(%s) AND locked_by = %s AND lock_token = %s AND {PLAIN}"
        return held, [list(ids), worker, token]

    @contextmanager
    def _ordered_by_the_index(self, limit: int) -> Iterator[None]:
        # If many jobs were enqueued since the last ANALYZE, the planner assumes a short lane and sorts all of
        # it, which takes 14 ms for 50,000 rows. With LIMIT 1 it never does.
        if limit == 1 or in_callers_transaction(self.connection):
            yield
            return
        with transaction.atomic(using=self.connection.alias):
            with self.connection.cursor() as cursor:
                cursor.execute("SET LOCAL enable_sort = off")
            yield

    def source_of(self, columns: Sequence[Column]) -> Source | None:
        if not columns:
            return None
        # As JSON, which C code writes and reads. psycopg makes an array in Python, at 24 µs an element; the
        # INSERT of a row takes 11 µs in all.
        try:
            params = [_column_encoder.encode(values) for _, values in columns]
        except TypeError:
            return None
        names = [f"c{number}" for number in range(len(columns))]
        # A cast to varchar(255) would cut off what is too long.
        selected = [
            name
            if isinstance(field, models.CharField | models.TextField)
            else f"{name}::{field.db_type(self.connection)}"
            for name, (field, _) in zip(names, columns, strict=True)
        ]
        functions = ", ".join(["json_array_elements_text(%s)"] * len(columns))
        return selected, f"ROWS FROM ({functions}) AS given ({', '.join(names)})", params

    def oldest_transaction(self) -> OpenTransaction | None:
        # VACUUM considers only transactions of this database, and an autovacuum keeps no other from removing
        # rows. An ordinary role sees nothing of the sessions of other roles.
        with self.connection.cursor() as cursor:
            cursor.execute(
                "SELECT session, EXTRACT(EPOCH FROM clock_timestamp() - began)::float FROM"
                " (SELECT concat_ws(', ', 'pid ' || pid, 'role ' || usename, NULLIF(application_name, ''),"
                " state) AS session, xact_start AS began FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND backend_type <> 'autovacuum worker'"
                " AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)"
                " UNION ALL SELECT concat_ws(', ', 'prepared as ' || gid, 'role ' || owner), prepared"
                " FROM pg_prepared_xacts WHERE database = current_database()) opened"
                " WHERE began IS NOT NULL ORDER BY began LIMIT 1"
            )
            return next(
                (OpenTransaction(session, timedelta(seconds=age)) for session, age in cursor.fetchall()), None
            )

    def code_of(self, error: Error) -> int | str | None:
        cause = error.__cause__
        # The latter is psycopg2's.
        return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)

    def watch(self, is_one_due: Callable[[], bool]) -> Watch:
        # psycopg2 has other methods.
        why = "perhaps because of a pooler"
        try:
            if self._is_psycopg3 and (watch := Notifications(self.connection)).arrive():
                return watch
        except Error as error:
            # A second connection, which the test needs, may be one too many for the server.
            why = str(error).strip()
        logger.info(
            "No notifications arrive over this connection, %s; the worker looks for new jobs every %.1f s",
            why,
            LOOK_EVERY,
        )
        return super().watch(is_one_due)

    def wake_with_insert(self) -> str:
        if self.connection.in_atomic_block or not self.connection.get_autocommit():
            self.wake_workers()
            return ""
        return f"pg_notify('{CHANNEL}', '')" if take_turn() else ""

    def wake_workers(self) -> None:
        if is_in_testcase(self.connection):
            return
        # In a transaction that is managed by hand, Django calls nothing at the commit.
        if self.connection.in_atomic_block or self.connection.get_autocommit():
            transaction.on_commit(self._notify, using=self.connection.alias, robust=True)

    def _notify(self) -> None:
        if take_turn():
            with self.connection.cursor() as cursor:
                cursor.execute(f"NOTIFY {CHANNEL}")

    @property
    def _is_psycopg3(self) -> bool:
        return hasattr(self.connection.Database, "rows")  # type: ignore[attr-defined]

    def reset_session(self) -> bool:
        session: Any = self.connection.connection
        if not self._is_as_opened(session):
            return False
        with self.connection.wrap_database_errors:
            session.execute("DISCARD ALL")
        return True

    def has_open_transaction(self) -> bool:
        session: Any = self.connection.connection
        # Idle, or unknown because the connection is closed; the numbers are libpq's.
        return session.info.transaction_status not in (0, 4)

    def has_lost_session(self) -> bool:
        session: Any = self.connection.connection
        # No statement is pending, so there is something to read only if the server has closed the session.
        return session.closed or bool(select.select([session], [], [], 0)[0])

    def _is_as_opened(self, session: Any) -> bool:
        """Whether nothing was set on psycopg's object that the server does not know about."""
        driver: Any = self.connection.Database  # type: ignore[attr-defined]
        # psycopg2 has other attributes.
        return self._is_psycopg3 and (
            session.isolation_level == self.connection.settings_dict["OPTIONS"].get("isolation_level")
            # Before 3.3, psycopg does not notice that DISCARD ALL removes its prepared statements.
            and session.prepare_threshold is None
            and session.read_only is None
            and session.deferrable is None
            and session.row_factory is driver.rows.tuple_row
        )
