"""The database's clock as an expression of the ORM."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DateTimeField, Func

from .base import Database
from .vendors import database


class DatabaseNow(Func):
    """The database's now plus a timedelta: the one clock by which jobs are due and workers are stale.

    Not Django's `Now()`: on a MySQL or MariaDB server whose zone is not UTC, that is hours off what Django
    stores.
    """

    output_field = DateTimeField()

    def __init__(self, plus: timedelta = timedelta(0)) -> None:
        super().__init__()
        self.plus = plus

    def as_sql(  # type: ignore[override]
        self, compiler: Any, connection: BaseDatabaseWrapper, **_: Any
    ) -> tuple[str, tuple[Any, ...]]:
        sql, params = database(connection).now(plus=self.plus)
        return sql, tuple(params)


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
    """A block for tests, in which time passes when it is told to; after it, the clock is right again."""
    before = Database.ahead
    try:
        yield VirtualTime()
    finally:
        Database.ahead = before
