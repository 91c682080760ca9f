"""The operator's moves in bulk."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from django_delayed import states
from django_delayed.models import DelayedJob
from django_delayed.operations import DISCARD, RETRY, RUN_NOW, as_of

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
    [early] = write(1, run_at=now + HOUR)
    assert RETRY.ids(DelayedJob.objects.all()) == [failed.pk]
    assert RUN_NOW.ids(DelayedJob.objects.all()) == [early.pk]
    assert set(DISCARD.ids(DelayedJob.objects.all())) == {failed.pk, waiting.pk, early.pk}


def test_a_row_that_changed_its_state_meanwhile_stays():
    rows = write(3, failed_at=timezone.now())
    ids = RETRY.ids(DelayedJob.objects.all())
    DelayedJob.objects.filter(pk=rows[0].pk).retry()
    DelayedJob.objects.filter(pk=rows[1].pk).update(failed_at=None, locked_at=timezone.now())
    assert RETRY.carry_out(ids) == 1
    assert DISCARD.carry_out(ids) == 2
    assert [row.state for row in DelayedJob.objects.all()] == ["running"]


def test_an_operation_may_be_limited():
    write(3)
    assert DISCARD.carry_out(DISCARD.ids(DelayedJob.objects.all(), 2)) == 2
    assert DelayedJob.objects.count() == 1


@pytest.mark.parametrize("operation", [RETRY, RUN_NOW], ids=lambda operation: operation.name)
def test_a_job_that_somebody_watches_is_kept(operation):
    now = timezone.now()
    columns = {"retry": {"failed_at": now}, "run_now": {"run_at": now + HOUR}}[operation.name]
    [watched, other] = write(2, **columns)
    assert operation.carry_out([watched.pk], keep_for=HOUR) == 1
    assert operation.carry_out([other.pk]) == 1
    assert dict(DelayedJob.objects.values_list("pk", "keep_for")) == {watched.pk: HOUR, other.pk: None}


def test_a_report_names_the_first_hundred_rows():
    assert RETRY.report("2 of 2", [7, 8], "") == "retry: 2 of 2: 7, 8"
    text = RUN_NOW.report("not completed", range(1, 151), "queue=mail")
    assert text.startswith("run_now: not completed where queue=mail: 1, 2, 3, ")
    assert text.endswith("99, 100, …")


@pytest.mark.parametrize("column", ["created_at", "failed_at", "finished_at"])
def test_rows_that_changed_after_the_cut_off_are_left_out(column):
    now = timezone.now()
    early = {"created_at": now - 2 * HOUR}
    [before] = write(1, **(early | {column: now - HOUR}))
    write(1, **(early | {column: now + HOUR}))
    assert DISCARD.ids(DelayedJob.objects.all(), until=now) == [before.pk]
    assert len(DISCARD.ids(DelayedJob.objects.all())) == 2


def test_ten_thousand_ids_are_cut_off_in_one_statement():
    [row] = write(1)
    statements, found = statements_of(lambda: list(as_of(range(1, row.pk + 10_000), timezone.now() + HOUR)))
    assert (len(statements), found) == (1, [row])
