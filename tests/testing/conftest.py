"""Fixtures for the tests of the test helpers."""

import pytest
from django.db import connection
from django_delayed.models import DelayedJob
from tests.heard import heard

__all__ = ["heard"]


@pytest.fixture
def lock():
    """Lock a row in a transaction of another connection, until the test ends or calls `lock.release()`."""
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip("this database has one writer at a time")
    other = connection.copy()

    def lock(row):
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(f"SELECT id FROM {DelayedJob._meta.db_table} WHERE id = %s FOR UPDATE", [row.pk])

    lock.release = other.rollback
    yield lock
    other.close()
