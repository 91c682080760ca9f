"""The operator's moves in bulk."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from django_delayed import operations, states
from django_delayed.models import DelayedJob
from django_delayed.operations import DISCARD, RETRY, as_of

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def write(count, **columns):
    rows = [DelayedJob(name=f"job {number}", payload="{}", **columns) for number in range(count)]
    for row in rows:
        row.save()
    return rows


def statements_of(function):
    statements = []

    def note(execute, sql, params, many, context):
        statements.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        return statements, function()


def test_the_ids_are_read_once_and_moved_in_batches(monkeypatch):
    monkeypatch.setattr(states, "ROWS_A_TRANSACTION", 3)
    write(7, failed_at=timezone.now())
    reading, ids = statements_of(lambda: RETRY.ids(DelayedJob.objects.all()))
    assert (len(reading), len(ids)) == (1, 7)
    moving, moved = statements_of(lambda: RETRY.carry_out(ids))
    assert moved == 7
    assert [sql.split()[0] for sql in moving] == ["UPDATE"] * 3
    removing, removed = statements_of(lambda: DISCARD.carry_out(ids))
    kinds = [sql.split()[0] for sql in removing if not sql.startswith(("SAVEPOINT", "RELEASE"))]
    assert removed == 7
    assert kinds == ["DELETE", "SELECT", "DELETE"] * 3
    assert not DelayedJob.objects.exists()


def test_an_operation_takes_the_rows_that_it_may_be_made_with():
    now = timezone.now()
    [failed] = write(1, failed_at=now)
    [waiting] = write(1)
    write(1, locked_at=now, locked_by="w")
    assert RETRY.ids(DelayedJob.objects.all()) == [failed.pk]
    assert set(DISCARD.ids(DelayedJob.objects.all())) == {failed.pk, waiting.pk}


def test_a_row_that_changed_its_state_meanwhile_stays():
    rows = write(3, failed_at=timezone.now())
    ids = RETRY.ids(DelayedJob.objects.all())
    DelayedJob.objects.filter(pk=rows[0].pk).retry()
    DelayedJob.objects.filter(pk=rows[1].pk).update(failed_at=None, locked_at=timezone.now())
    assert RETRY.carry_out(ids) == 1
    assert DISCARD.carry_out(ids) == 2
    assert [row.state for row in DelayedJob.objects.all()] == ["running"]


def test_an_operation_moves_at_most_its_limit(monkeypatch):
    monkeypatch.setattr(operations, "MOST_ROWS", 2)
    write(3)
    assert DISCARD.carry_out(DISCARD.ids(DelayedJob.objects.all())) == 2
    assert DelayedJob.objects.count() == 1


@pytest.mark.parametrize("column", ["created_at", "failed_at", "finished_at"])
def test_rows_that_changed_after_the_cut_off_are_left_out(column):
    now = timezone.now()
    early = {"created_at": now - 2 * HOUR}
    [before] = write(1, **(early | {column: now - HOUR}))
    write(1, **(early | {column: now + HOUR}))
    assert list(as_of(DelayedJob.objects.all(), now)) == [before]
