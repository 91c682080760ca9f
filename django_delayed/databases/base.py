"""What all databases do alike: walk the lanes, take rows, write rows, try again after a passing error."""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, TypeVar

from django.db import DatabaseError, models
from django.db.backends.base.base import BaseDatabaseWrapper

T = TypeVar("T")
SQL = tuple[str, list[Any]]

MANY_LANES = 100  # up to here a scan of the lanes costs next to nothing on every database; 1,000 cost 4 ms
REMEMBER_LANES = 1.0  # seconds that a longer list is good for
LANES_A_CLAIM = 10  # lanes that one statement looks into at least
TRIES = 12  # of a statement that meets deadlocks or locks; with the pauses between them about half a minute


@dataclass(frozen=True)
class Lane:
    """One (queue, priority) that has waiting rows; `due_in` is the seconds until its first row is due."""

    queue: str
    priority: int
    due_in: float


@dataclass(frozen=True)
class Filters:
    """Which lanes a worker serves: all queues when none is named, and both bounds inclusive."""

    queues: tuple[str, ...] = ()
    min_priority: int | None = None
    max_priority: int | None = None

    def serve(self, lane: Lane) -> bool:
        """Whether rows of this lane are for this worker."""
        return (
            (not self.queues or lane.queue in self.queues)
            and (self.min_priority is None or lane.priority >= self.min_priority)
            and (self.max_priority is None or lane.priority <= self.max_priority)
        )


class Database(ABC):
    """The table of delayed jobs as one database sees it. Times are the database's own."""

    _remembered: ClassVar[dict[str, tuple[float, list[Lane]]]] = {}

    def __init__(self, connection: BaseDatabaseWrapper, model: type[models.Model]) -> None:
        self.connection = connection
        self.model = model
        self.table = connection.ops.quote_name(model._meta.db_table)

    @abstractmethod
    def now(self, plus: timedelta = timedelta(0)) -> SQL:
        """The database's clock as SQL, in the form in which Django stores a datetime there."""

    @abstractmethod
    def scan_lanes(self) -> Iterable[tuple[str, int, float]]:
        """Each lane with the seconds until its first row is due, at a cost of lanes, not of rows."""

    @abstractmethod
    def take(self, worker: str, lanes: Sequence[Lane], limit: int) -> list[Any]:
        """Claim at most `limit` due rows of these lanes, in their order, for `worker`."""

    @abstractmethod
    def is_passing(self, error: DatabaseError) -> bool:
        """Whether the same statement may succeed in a moment: deadlock, lock, serialization failure."""

    def lanes(self) -> list[Lane]:
        """All lanes now; a list longer than MANY_LANES may be up to REMEMBER_LANES seconds old."""
        scanned_at, lanes = self._remembered.get(self.connection.alias, (0.0, []))
        age = time.monotonic() - scanned_at
        if lanes and age < REMEMBER_LANES:
            return [Lane(lane.queue, lane.priority, lane.due_in - age) for lane in lanes]
        lanes = [Lane(*row) for row in self.retrying(lambda: list(self.scan_lanes()))]
        self._remember(lanes if len(lanes) > MANY_LANES else [], time.monotonic())
        return lanes

    def _remember(self, lanes: list[Lane], scanned_at: float) -> None:
        self._remembered[self.connection.alias] = (scanned_at, lanes)

    def _forget(self, emptied: Sequence[Lane]) -> None:
        scanned_at, lanes = self._remembered.get(self.connection.alias, (0.0, []))
        gone = {(lane.queue, lane.priority) for lane in emptied}
        self._remember([lane for lane in lanes if (lane.queue, lane.priority) not in gone], scanned_at)

    def claim(self, worker: str, limit: int, filters: Filters) -> list[Any]:
        """Claim at most `limit` due rows: best priority first, then the lane that waited longest."""
        ready = [lane for lane in self.lanes() if filters.serve(lane) and lane.due_in <= 0]
        ready.sort(key=lambda lane: (lane.priority, lane.due_in))
        width = max(LANES_A_CLAIM, min(limit, MANY_LANES))
        rows: list[Any] = []
        while ready and not rows:
            asked, ready = ready[:width], ready[width:]
            rows = self.retrying(lambda lanes=asked: self.take(worker, lanes, limit))  # type: ignore[misc]
            if len(rows) < limit:
                self._forget(asked)
        return self._in_order(rows, asked) if rows else []

    @staticmethod
    def _in_order(rows: list[Any], lanes: Sequence[Lane]) -> list[Any]:
        # RETURNING has no order of its own.
        place = {(lane.queue, lane.priority): number for number, lane in enumerate(lanes)}
        return sorted(rows, key=lambda row: (place.get((row.queue, row.priority), 0), row.run_at, row.pk))

    def next_due(self, filters: Filters) -> float | None:
        """Seconds until the first row for this worker is due (<= 0: it is), None when none waits."""
        return min((lane.due_in for lane in self.lanes() if filters.serve(lane)), default=None)

    def delete(self, **columns: Any) -> bool:
        """Delete the row that has these columns; False when there is none (any more)."""
        where = " AND ".join(f"{column} = %s" for column in columns)
        with self.connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {self.table} WHERE {where}", list(columns.values()))
            return bool(cursor.rowcount)

    def retrying(self, operation: Callable[[], T]) -> T:
        """The operation's result; tried again after passing errors, unless a caller's transaction is open.

        A transaction that met a deadlock is lost with all the caller did in it: there the error is theirs.
        """
        if self.connection.in_atomic_block:
            return operation()
        for tried in range(1, TRIES):
            try:
                return operation()
            except DatabaseError as error:
                if not self.is_passing(error):
                    raise
                time.sleep(random.uniform(0, min(0.005 * 2**tried, 5)))
        return operation()

    def claim_columns(self, worker: str, limit: int) -> SQL:
        """The SET of a claim. A row claimed alone starts now; of a batch, the others wait for their turn."""
        now, params = self.now()
        started, started_params = (now, params) if limit == 1 else ("NULL", [])
        columns = (
            f"claimable = NULL, locked_at = {now}, started_at = {started}, locked_by = %s,"
            " lock_token = lock_token + 1, attempts = attempts + 1"
        )
        return columns, [*params, *started_params, worker]

    def insert(self, rows: Sequence[models.Model]) -> None:
        """Write at most 1,000 unsaved rows in one statement; a timedelta counts from the database's now."""
        statement, params = self._insert_sql(rows)
        with self.connection.cursor() as cursor:
            if self.connection.features.can_return_rows_from_bulk_insert:
                cursor.execute(f"{statement} RETURNING id, run_at, created_at", params)
                written = cursor.fetchall()
            else:
                cursor.execute(statement, params)
                # One INSERT of known length numbers its rows in sequence in every innodb_autoinc_lock_mode.
                written = [(cursor.lastrowid + number, None, None) for number in range(len(rows))]
        for row, (pk, run_at, created_at) in zip(rows, written, strict=True):
            row.pk, row._state.adding, row._state.db = pk, False, self.connection.alias
            self._set_time(row, "run_at", run_at)
            self._set_time(row, "created_at", created_at)

    def _set_time(self, row: models.Model, name: str, value: Any) -> None:
        if value is None:  # not returned by this database: read when somebody asks for it
            del row.__dict__[name]
            return
        expression = self.model._meta.get_field(name).get_col(self.model._meta.db_table)  # type: ignore[union-attr]
        for convert in self.connection.ops.get_db_converters(expression):
            value = convert(value, expression, self.connection)
        row.__dict__[name] = value

    def _insert_sql(self, rows: Sequence[models.Model]) -> SQL:
        fields = [field for field in self.model._meta.concrete_fields if not field.primary_key]
        values, params = [], []
        for row in rows:
            marks = []
            for field in fields:
                value = getattr(row, field.attname)
                if isinstance(value, timedelta) and isinstance(field, models.DateTimeField):
                    mark, mark_params = self.now(plus=value)
                else:
                    mark, mark_params = "%s", [field.get_db_prep_save(value, self.connection)]
                marks.append(mark)
                params += mark_params
            values.append(f"({', '.join(marks)})")
        columns = ", ".join(self.connection.ops.quote_name(str(field.column)) for field in fields)
        return f"INSERT INTO {self.table} ({columns}) VALUES {', '.join(values)}", params

    def utc_offset(self, plus: timedelta) -> timedelta:
        """How far the datetime that Django stores for now + `plus` is from UTC here.

        0 but for USE_TZ=False or a TIME_ZONE of the alias; there it may change between now and then.
        """
        then = datetime.now(UTC) + plus
        return then.astimezone(self.connection.timezone).utcoffset() or timedelta(0)
