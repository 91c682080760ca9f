"""Which class is for which database."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.base import BaseDatabaseWrapper

from .base import Database
from .mysql import MySQL
from .postgresql import PostgreSQL
from .sqlite import SQLite

VENDORS: dict[str, type[Database]] = {"postgresql": PostgreSQL, "mysql": MySQL, "sqlite": SQLite}


def database(connection: BaseDatabaseWrapper) -> Database:
    """The Database behind the connection. Raises ImproperlyConfigured for other vendors."""
    try:
        return VENDORS[connection.vendor](connection)
    except KeyError:
        raise ImproperlyConfigured(
            f"django_delayed keeps its jobs in {', '.join(VENDORS)};"
            f" the database {connection.alias!r} is {connection.vendor}."
        ) from None
