"""The database's clock as an expression of the ORM."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DateTimeField, Func
from django.utils import timezone

from .base import Database
from .vendors import database


class DatabaseNow(Func):
    """The database's now plus a timedelta. Only this clock decides when jobs are due and workers are stale.

    Not Django's `Now()`: on a MySQL or MariaDB server with another zone than UTC, that is hours off what
    Django stores.
    """

    output_field = DateTimeField()

    def __init__(self, plus: timedelta = timedelta(0)) -> None:
        super().__init__()
        self.plus = plus

    # The methods of the ORM compare the arguments of __init__, which takes 20 µs each time.

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DatabaseNow) and self.plus == other.plus

    def __hash__(self) -> int:
        return hash(self.plus)

    def as_sql(  # type: ignore[override]
        self, compiler: Any, connection: BaseDatabaseWrapper, **_: Any
    ) -> tuple[str, tuple[Any, ...]]:
        sql, params = database(connection).now(plus=self.plus)
        return sql, tuple(params)


def database_now(connection: BaseDatabaseWrapper) -> datetime:
    """The database's now, in UTC."""
    sql, params = database(connection).now()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {sql}", params)
        [moment] = cursor.fetchone()
    expression = DatabaseNow()
    for convert in connection.ops.get_db_converters(expression):
        moment = convert(moment, expression, connection)
    return aware(moment)


def aware(now: datetime) -> datetime:
    """The database's now as a query has just returned it, in UTC."""
    if timezone.is_aware(now):
        return now.astimezone(UTC)
    # With USE_TZ=False, one hour a year occurs twice. The clock of this machine tells which of the two it is.
    zone, here = timezone.get_default_timezone(), datetime.now(UTC) + Database.ahead
    both = (now.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return min(both, key=lambda moment: abs(moment - here))


class VirtualTime:
    """A clock that `advance` sets ahead."""

    def __init__(self) -> None:
        self.passed = timedelta(0)

    def advance(self, span: timedelta) -> None:
        """Let this much time pass at once, by the clock of every database, for this process."""
        self.passed += span
        Database.ahead += span


@contextmanager
def virtual_time() -> Iterator[VirtualTime]:
    """A block for tests in which `advance` lets time pass. After it, the clock is right again."""
    before = Database.ahead
    try:
        yield VirtualTime()
    finally:
        Database.ahead = before
