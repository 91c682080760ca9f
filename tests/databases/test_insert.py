"""One INSERT for many rows: afterwards each row has the values that were written."""

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from django_delayed.databases import DatabaseNow, Filters, insert
from django_delayed.execution.outcomes import Failed
from django_delayed.execution.settle import settle
from django_delayed.models import DelayedJob, FailedAttempt
from django_delayed.serialization.errors import describe

W1 = "1" * 32
CRAB = "a crab 🦀 and a café"


def rows(count, **columns):
    return [
        DelayedJob(name=f"job {n}", payload=f'{{"n": {n}}}', created_at=DatabaseNow(), **columns)
        for n in range(count)
    ]


@pytest.mark.django_db
@pytest.mark.parametrize("count", [1, 2, 1000])
def test_every_row_gets_its_own_id_and_times(count, django_assert_num_queries):
    written = rows(count)
    for number, row in enumerate(written):
        row.run_at = DatabaseNow(plus=timedelta(seconds=number))
    with django_assert_num_queries(1):
        insert(connection, written)
    assert not any(row._state.adding for row in written)
    assert {row._state.db for row in written} == {connection.alias}
    stored = DelayedJob.objects.in_bulk([row.pk for row in written])
    assert len(stored) == count
    for number, row in enumerate(written):
        assert stored[row.pk].name == row.name == f"job {number}"
        assert stored[row.pk].payload == row.payload
        assert (stored[row.pk].run_at, stored[row.pk].created_at) == (row.run_at, row.created_at)
        assert abs(row.run_at - row.created_at - timedelta(seconds=number)) < timedelta(seconds=1)


@pytest.mark.django_db
def test_a_time_that_is_given_is_stored_as_it_is():
    [row] = rows(1, run_at=(given := timezone.now().replace(microsecond=123456) + timedelta(days=3)))
    insert(connection, [row])
    assert row.run_at == given
    assert DelayedJob.objects.get().run_at == given


# Texts that JSON and SQL each write in their own way.
TEXTS = ["", "a", "'", '"', "\\", "%s %%", "\r\n\t", "\x1f", "\u2028", "é", "🦀", "null", "{}", "a" * 255]


@pytest.mark.django_db
@pytest.mark.parametrize("waits", [False, True])
def test_rows_that_differ_in_every_column_are_stored_as_they_are(waits, django_assert_num_queries):
    day, now = timedelta(days=1), timezone.now()
    written = [
        DelayedJob(
            name=text,
            about=text,
            payload=text,
            queue=text or "default",
            priority=number - 5,
            run_at=DatabaseNow(plus=number * day) if waits and number % 2 else now - number * day,
            max_attempts=2**31 - 1 - number,
            keep_for=number * day if waits and number else None,
            extras=number,
            created_at=DatabaseNow(),
        )
        for number, text in enumerate(TEXTS)
    ]
    with django_assert_num_queries(1):
        insert(connection, written)
    stored = DelayedJob.objects.in_bulk([row.pk for row in written])
    for row in written:
        for field in DelayedJob._meta.concrete_fields:
            assert getattr(row, field.attname) == getattr(stored[row.pk], field.attname), field.name
    assert [row.name for row in written] == TEXTS


@pytest.mark.django_db
def test_rows_that_are_all_alike_are_all_inserted():
    written = [
        DelayedJob(name="a", payload="{}", run_at=DatabaseNow(), created_at=DatabaseNow()) for _ in "abc"
    ]
    insert(connection, written)
    assert len({row.pk for row in written}) == DelayedJob.objects.count() == 3


@pytest.mark.django_db
def test_a_text_that_is_too_long_for_its_column_is_refused_and_not_cut():
    if connection.vendor == "sqlite":
        pytest.skip("has no such limit")
    with pytest.raises(DatabaseError), transaction.atomic():
        insert(
            connection,
            [DelayedJob(name=letter * 256, payload="{}", run_at=timezone.now()) for letter in "ab"],
        )
    assert not DelayedJob.objects.exists()


@pytest.mark.django_db
def test_an_inserted_row_can_be_saved_again():
    [row] = rows(1, run_at=DatabaseNow())
    insert(connection, [row])
    row.priority = 7
    row.save()
    assert DelayedJob.objects.get().priority == 7


@pytest.mark.django_db
@pytest.mark.parametrize(
    "text", [CRAB, "'); DROP TABLE x; --", "%s %% %(x)s", "\\", "\r\n\t", "\x01", "a" * 70000]
)
def test_text_comes_back_as_it_was(text):
    [row] = rows(1, run_at=DatabaseNow())
    row.payload = text
    insert(connection, [row])
    assert DelayedJob.objects.get().payload == text
    assert DelayedJob.objects.claim(W1)[0].payload == text


@pytest.fixture
def latin1(transactional_db):
    """The connection, for this test, to a MySQL or MariaDB database with a charset that has no emoji."""
    if connection.vendor != "mysql":
        pytest.skip("only for MySQL and MariaDB")
    of_the_tests = connection.settings_dict["NAME"]
    name = f"{of_the_tests}_latin1"
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET latin1")
    connection.close()
    connection.settings_dict["NAME"] = name
    call_command("migrate", "django_delayed", verbosity=0)
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name}")
    connection.close()
    connection.settings_dict["NAME"] = of_the_tests


def test_a_failure_is_recorded_in_a_charset_that_refuses_its_text(latin1, add):
    add(due=-60)
    [row] = DelayedJob.objects.claim(W1)
    error = describe(ValueError(CRAB))
    with pytest.raises(DatabaseError):
        DelayedJob.objects.fail(row, error)
    assert settle([(row, Failed(None, error, exception=ValueError("it broke")))]) == []
    row = DelayedJob.objects.get()
    assert row.state == "failed"
    assert row.error_message == "a crab \\U0001f980 and a caf\\xe9"
    assert FailedAttempt.objects.get().error == row.last_error


def test_queue_names_are_distinguished_in_any_charset(latin1, add):
    for queue in ("mail", "Mail", "🦀"):
        add(queue=queue, due=-60)
    for queue in ("mail", "Mail", "🦀"):
        assert [row.queue for row in DelayedJob.objects.claim(W1, 10, Filters(queues=(queue,)))] == [queue]


@pytest.mark.skipif(connection.vendor != "mysql", reason="only MySQL returns one id for many rows")
@pytest.mark.parametrize("step", [1, 7])
def test_ids_are_those_of_the_rows_whatever_step_the_server_counts_in(transactional_db, monkeypatch, step):
    # MariaDB would return the ids; without that, they are found as on MySQL.
    monkeypatch.setattr(type(connection.features), "can_return_rows_from_bulk_insert", False)
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION auto_increment_increment = %s", [step])
    try:
        written = rows(5, run_at=DatabaseNow())
        insert(connection, written)
        stored = DelayedJob.objects.in_bulk([row.pk for row in written])
        assert [stored[row.pk].name for row in written] == [row.name for row in written]
    finally:
        connection.close()
