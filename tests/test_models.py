"""The columns, and what the database itself enforces."""

import re
from datetime import timedelta

import pytest
from django.core import checks
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.writer import MigrationWriter
from django.utils import timezone
from django_delayed.databases import DatabaseNow
from django_delayed.fields import PartialIndex
from django_delayed.models import DelayedJob, FailedAttempt, WorkerProcess

TIMES = ("locked_at", "failed_at", "finished_at")

pytestmark = pytest.mark.django_db


def write(**columns):
    return DelayedJob.objects.create(name="a job", payload="{}", **columns)


def test_a_row_says_what_it_is():
    row = write()
    assert str(row) == f"a job #{row.pk}"
    attempt = FailedAttempt(error_class="ValueError", error_message="no")
    assert str(attempt) == "ValueError: no"
    assert str(FailedAttempt(error_class="KeyError")) == "KeyError"
    assert str(WorkerProcess(hostname="web1", pid=42)) == "host:web1 pid:42"
    assert str(WorkerProcess(name="mail er", hostname="web1", pid=42)) == "name:mail er host:web1 pid:42"


def test_the_question_of_the_console_is_answered():
    write()
    write(last_error="ValueError: first")
    write(last_error="ValueError: second")
    assert DelayedJob.objects.exclude(last_error="").last().last_error == "ValueError: second"


@pytest.mark.parametrize("column", TIMES)
def test_claimable_follows_the_times_at_every_save(column):
    row = write()
    assert row.claimable == 1
    setattr(row, column, timezone.now())
    row.save()
    assert DelayedJob.objects.get().claimable is row.claimable is None
    setattr(row, column, None)
    row.save()
    assert DelayedJob.objects.get().claimable == row.claimable == 1


def test_rows_of_a_bulk_create_are_claimable_as_their_times_say():
    DelayedJob.objects.bulk_create(
        [
            DelayedJob(name="free", payload="{}"),
            DelayedJob(name="failed", payload="{}", failed_at=timezone.now()),
        ]
    )
    assert dict(DelayedJob.objects.values_list("name", "claimable")) == {"free": 1, "failed": None}


@pytest.mark.parametrize(
    "contradiction",
    [
        {"claimable": None},
        *({"claimable": 1, column: timezone.now()} for column in TIMES),
        {"claimable": 0},
        {"claimable": 2},
    ],
)
def test_the_database_refuses_a_contradiction(contradiction):
    write()
    with pytest.raises(IntegrityError, match="delayed_job_claimable"), transaction.atomic():
        DelayedJob.objects.update(**contradiction)


@pytest.mark.parametrize("column", TIMES)
def test_a_timestamp_may_be_saved_alone(column):
    row = write()
    setattr(row, column, timezone.now())
    row.save(update_fields=[column])
    assert DelayedJob.objects.get().claimable is None
    setattr(row, column, None)
    row.save(update_fields=[column])
    assert DelayedJob.objects.get().claimable == 1


def test_the_failed_attempts_of_a_job_are_deleted_with_it():
    row, other = write(), write()
    for job in (row, other):
        FailedAttempt.objects.create(delayed_job=job, number=1, ended_at=timezone.now(), error_class="E")
    row.delete()
    assert FailedAttempt.objects.get().delayed_job == other


def test_a_failed_attempt_needs_no_job_as_far_as_the_database_goes():
    FailedAttempt.objects.create(delayed_job_id=10**9, number=1, ended_at=timezone.now(), error_class="E")
    connection.check_constraints()


def test_silent_workers_are_those_without_a_heartbeat_for_a_lease():
    for pid, ago in [(1, timedelta(0)), (2, timedelta(minutes=2))]:
        WorkerProcess.objects.create(
            id=str(pid),
            hostname="host",
            pid=pid,
            started_at=DatabaseNow(),
            heartbeat_at=DatabaseNow(plus=-ago),
        )
    assert [worker.pid for worker in WorkerProcess.objects.stale(timedelta(seconds=60))] == [2]


# Indexes, migrations.


def test_the_index_of_the_lanes_is_there_in_the_form_of_this_database():
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, DelayedJob._meta.db_table)
    columns = ["queue", "priority", "run_at", "id", "attempts"]
    if connection.vendor == "mysql":
        columns = ["claimable", *columns]
    assert found["delayed_job_lanes"]["columns"] == columns
    assert {"delayed_job_held", "delayed_job_failed", "delayed_job_finished", "delayed_job_about"} <= set(
        found
    )


@pytest.mark.skipif(connection.vendor == "mysql", reason="has no partial indexes")
def test_the_indexes_hold_only_the_rows_that_they_are_for():
    ask = {
        "postgresql": "SELECT indexdef FROM pg_indexes WHERE tablename = 'django_delayed_delayedjob'",
        "sqlite": "SELECT sql FROM sqlite_master WHERE tbl_name = 'django_delayed_delayedjob'",
    }
    with connection.cursor() as cursor:
        cursor.execute(ask[connection.vendor])
        definitions = [row[0] for row in cursor.fetchall() if row[0]]
    partial = {
        name for text in definitions if " WHERE " in text for name in re.findall(r"delayed_job_\w+", text)
    }
    assert partial >= {
        f"delayed_job_{name}" for name in ("lanes", "held", "retrying", "failed", "finished", "expires")
    }


def test_a_partial_index_is_written_into_migrations_as_it_is():
    for index in DelayedJob._meta.indexes:
        if isinstance(index, PartialIndex):
            path, args, options = index.deconstruct()
            assert path == "django_delayed.fields.PartialIndex"
            assert PartialIndex(*args, **options) == index
            assert MigrationWriter.serialize(index)[0].startswith("django_delayed.fields.PartialIndex(")


def test_no_check_warns_about_the_models():
    found = checks.run_checks(databases=["default"])
    assert [message for message in found if message.id in ("models.W037", "models.W042", "models.W038")] == []


def test_the_migrations_are_complete():
    call_command("makemigrations", "django_delayed", check=True, dry_run=True, verbosity=0)
    assert not MigrationLoader(connection).detect_conflicts()


@pytest.mark.django_db(transaction=True)
def test_the_migrations_can_be_undone_and_done_again(recwarn):
    call_command("migrate", "django_delayed", "zero", verbosity=0)
    assert "django_delayed_delayedjob" not in connection.introspection.table_names()
    call_command("migrate", "django_delayed", verbosity=0)
    assert write().claimable == 1
    assert not recwarn
