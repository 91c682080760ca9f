from datetime import timedelta

import pytest
from django.db import connection
from django_delayed.databases import DatabaseNow, database, insert
from django_delayed.models import DelayedJob
from tests.connections import in_thread, other
from tests.lanes import no_lanes_are_remembered

__all__ = ["in_thread", "no_lanes_are_remembered", "other"]


@pytest.fixture
def backend():
    """The database of this run."""
    return database(connection)


@pytest.fixture
def add():
    """Write a delayed job that is due `due` seconds after the database's now; returns the row."""

    def add(name="a job", *, due=0, payload="{}", **columns):
        row = DelayedJob(
            name=name,
            payload=payload,
            run_at=DatabaseNow(plus=timedelta(seconds=due)),
            created_at=DatabaseNow(),
            **columns,
        )
        insert(connection, [row])
        return row

    return add


@pytest.fixture
def begins_as_a_reader():
    """Have transactions take no lock before their first write, on SQLite too."""
    if connection.vendor != "sqlite":
        yield
        return
    connection.ensure_connection()
    mode, connection.transaction_mode = connection.transaction_mode, "DEFERRED"
    yield
    connection.transaction_mode = mode
