"""What each database does its own way: its clock, its lanes, its claim, its passing errors."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from .base import Database, Filters, Lane
from .mysql import MySQL
from .postgresql import PostgreSQL
from .sqlite import SQLite

__all__ = ["Database", "Filters", "Lane", "database"]

VENDORS: dict[str, type[Database]] = {"postgresql": PostgreSQL, "mysql": MySQL, "sqlite": SQLite}


def database(connection: BaseDatabaseWrapper, model: type[models.Model]) -> Database:
    """The Database behind `connection`, over the table of `model`. Raises ImproperlyConfigured for others."""
    try:
        return VENDORS[connection.vendor](connection, model)
    except KeyError:
        raise ImproperlyConfigured(
            f"django_delayed keeps its jobs in {', '.join(VENDORS)};"
            f" the database {connection.alias!r} is {connection.vendor}."
        ) from None
