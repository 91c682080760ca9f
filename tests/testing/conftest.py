"""What the tests of the kit share."""

import pytest
from django.db import connection
from django_delayed.models import DelayedJob
from django_delayed.signals import job_discarded, job_errored, job_failed, job_finished, job_started


@pytest.fixture
def heard():
    """What the signals said, in order."""
    said = []

    def hear(signal, sender, delayed_job, **what):
        said.append((signal, sender, delayed_job.pk, what))

    signals = (job_started, job_finished, job_errored, job_failed, job_discarded)
    for one in signals:
        one.connect(hear)
    yield said
    for one in signals:
        one.disconnect(hear)


@pytest.fixture
def lock():
    """Lock a row in a transaction of another connection, which ends with the test, or by `lock.release()`."""
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip("has one writer at a time")
    other = connection.copy()

    def lock(row):
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(f"SELECT id FROM {DelayedJob._meta.db_table} WHERE id = %s FOR UPDATE", [row.pk])

    lock.release = other.rollback
    yield lock
    other.close()
