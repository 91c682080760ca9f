"""jobs_check: a job that has been due for too long is late, and no other."""

import json
import re
import time
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone
from django_delayed import stats
from django_delayed.databases import database, missing_parts
from django_delayed.management.commands import jobs_check
from django_delayed.models import DelayedJob, PausedQueue
from tests.connections import other
from tests.lanes import no_lanes_are_remembered
from tests.playground.jobs import Note
from tests.playground.waiting import until

__all__ = ["no_lanes_are_remembered", "other"]

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def job(due, **columns):
    """Write a job that fell due this long ago, and was enqueued long before."""
    now = timezone.now()
    return DelayedJob.objects.create(
        name="job", payload="{}", run_at=now - due, created_at=now - 10 * HOUR, **columns
    )


def test_an_empty_queue_is_healthy(capsys):
    call_command("jobs_check")
    assert capsys.readouterr().out == "No job is late; none is due.\n"


@pytest.mark.parametrize(("queues", "is_late"), [("m*", True), ("!mail", False), ("*,!m*", False)])
def test_it_checks_the_queues_of_a_pattern(queues, is_late):
    job(HOUR, queue="mail")
    if is_late:
        with pytest.raises(CommandError, match="A job has been due"):
            call_command("jobs_check", queues=queues)
    else:
        call_command("jobs_check", queues=queues)


def test_a_job_that_has_been_due_for_more_than_five_minutes_is_late(capsys):
    job(timedelta(minutes=4))
    call_command("jobs_check")
    assert "No job is late; the oldest has been due for 24" in capsys.readouterr().out
    job(timedelta(minutes=6))
    with pytest.raises(CommandError, match=r"has been due for 36. s, more than 300 s") as caught:
        call_command("jobs_check")
    assert caught.value.returncode == 1


def test_a_retrying_job_can_be_late_too():
    job(HOUR, attempts=3)
    with pytest.raises(CommandError):
        call_command("jobs_check")


@pytest.mark.parametrize(
    "columns",
    [
        {"due": -HOUR},
        {"due": HOUR, "locked_at": timezone.now() - HOUR, "locked_by": "w", "attempts": 1},
        {"due": HOUR, "failed_at": timezone.now() - HOUR, "attempts": 25},
        {"due": HOUR, "finished_at": timezone.now() - HOUR, "attempts": 1, "keep_for": HOUR},
    ],
    ids=["scheduled", "running", "failed", "finished"],
)
def test_future_running_and_ended_jobs_are_not_late(columns):
    job(**columns)
    call_command("jobs_check", "--max-age", "0")


@pytest.mark.parametrize(("age", "late"), [("0:30:00", True), ("7200", False), (90, True), (HOUR * 2, False)])
def test_the_maximum_age_can_be_given(age, late):
    job(HOUR)
    if late:
        with pytest.raises(CommandError):
            call_command("jobs_check", max_age=age)
    else:
        call_command("jobs_check", max_age=age)


def test_it_checks_only_the_queues_that_are_named():
    job(HOUR, queue="mail")
    call_command("jobs_check", "--queue", "index")
    with pytest.raises(CommandError):
        call_command("jobs_check", "--queue", "index", "--queue", "mail")


def test_it_warns_of_too_many_lanes(capsys):
    now = timezone.now()
    DelayedJob.objects.bulk_create(
        DelayedJob(name="job", payload="{}", run_at=now, queue=f"queue {n}") for n in range(201)
    )
    call_command("jobs_check")
    assert "201 pairs of queue and priority" in capsys.readouterr().err


# Old transactions, which keep the rows of performed jobs


@pytest.fixture
def at_once(monkeypatch):
    """Let a transaction count as old as soon as it begins."""
    monkeypatch.setattr(jobs_check, "OLD_TRANSACTION", timedelta(0))


def begin(other, statement="SELECT 1"):
    other.set_autocommit(False)
    with other.cursor() as cursor:
        cursor.execute(statement)


def is_seen():
    """Whether a transaction is seen. InnoDB looks for new ones only after 0.1 s without a question."""
    time.sleep(0.2)
    return database(connection).oldest_transaction()


READ = "SELECT count(*) FROM django_delayed_delayedjob"
BEGUN = {
    "postgresql": f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; {READ}",
    "mysql": READ,
}.get(connection.vendor)
only_where_seen = pytest.mark.skipif(BEGUN is None, reason="tells nothing of other transactions")
# InnoDB keeps rows for the transactions of all databases, so it also reports those of other tests.
alone = pytest.mark.skipif(connection.vendor != "postgresql", reason="only for PostgreSQL")


@only_where_seen
@pytest.mark.django_db(transaction=True)
def test_it_warns_of_an_old_transaction_that_keeps_rows(capsys, other, at_once):
    begin(other, BEGUN)
    until(is_seen)
    call_command("jobs_check")
    warning = capsys.readouterr().err
    assert re.search(
        r"A transaction has been open for [\d,]+ s \((pid|connection) \d+.*\)\. Until it", warning
    )


@alone
@pytest.mark.django_db(transaction=True)
def test_the_warning_names_the_session_and_stops_when_the_transaction_ends(capsys, other, at_once):
    begin(other, "SET application_name = 'a report'")
    other.commit()
    begin(other, BEGUN)
    call_command("jobs_check")
    role = connection.get_connection_params()["user"]
    pid = other.connection.info.backend_pid
    assert f"(pid {pid}, role {role}, a report, idle in transaction)" in capsys.readouterr().err
    other.rollback()
    call_command("jobs_check")
    assert capsys.readouterr().err == ""


@alone
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("statement", ["SELECT 1", READ])
def test_a_transaction_that_keeps_no_rows_gives_no_warning(capsys, other, at_once, statement):
    # At READ COMMITTED a snapshot ends with its statement.
    begin(other, statement)
    call_command("jobs_check")
    assert capsys.readouterr().err == ""


@alone
@pytest.mark.django_db(transaction=True)
def test_a_transaction_of_another_database_gives_no_warning(capsys, other, at_once):
    other.settings_dict = {**other.settings_dict, "NAME": "postgres"}
    begin(other, "SELECT txid_current()")
    call_command("jobs_check")
    assert capsys.readouterr().err == ""


@alone
@pytest.mark.django_db(transaction=True)
def test_a_young_transaction_gives_no_warning(capsys, other):
    begin(other, BEGUN)
    call_command("jobs_check")
    assert capsys.readouterr().err == ""


def test_it_does_not_warn_of_its_own_transaction(capsys, at_once):
    DelayedJob.objects.exists()
    oldest = database(connection).oldest_transaction()
    if connection.vendor == "mysql" and oldest:
        with connection.cursor() as cursor:
            cursor.execute("SELECT CONNECTION_ID()")
            assert oldest.session != f"connection {cursor.fetchone()[0]}"
    else:
        assert oldest is None


@pytest.mark.skipif(connection.vendor != "mysql", reason="only for MySQL and MariaDB")
@pytest.mark.parametrize("zone", ["SYSTEM", "+09:00", "-08:00"])
@pytest.mark.django_db(transaction=True)
def test_the_age_of_a_transaction_does_not_depend_on_the_time_zone_of_the_session(other, zone):
    begin(other, BEGUN)
    with connection.cursor() as cursor:
        cursor.execute("SET time_zone = %s", [zone])
    try:
        oldest = database(connection).oldest_transaction()
    finally:
        connection.close()
    # A wrong time zone would add hours.
    assert oldest.age < timedelta(minutes=30)


@pytest.mark.skipif(connection.vendor != "mysql", reason="only for MySQL and MariaDB")
@pytest.mark.django_db(transaction=True)
def test_a_database_user_who_may_not_see_transactions_gets_no_warning(other):
    with connection.cursor() as cursor:
        cursor.execute("CREATE USER narrow@'%%' IDENTIFIED BY 'narrow'")
        try:
            other.settings_dict = {**other.settings_dict, "USER": "narrow", "PASSWORD": "narrow", "NAME": ""}
            assert database(other).oldest_transaction() is None
        finally:
            other.close()
            cursor.execute("DROP USER narrow@'%%'")


# Tables that differ from the migrations


def ddl(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.django_db(transaction=True)
def test_it_warns_of_a_missing_index(capsys):
    index = next(index for index in DelayedJob._meta.indexes if index.name == "delayed_job_about")
    with connection.schema_editor() as editor:
        editor.remove_index(DelayedJob, index)
    try:
        call_command("jobs_check")
        assert capsys.readouterr().err == (
            "The table django_delayed_delayedjob has no index delayed_job_about.\n"
        )
    finally:
        with connection.schema_editor() as editor:
            editor.add_index(DelayedJob, index)
    call_command("jobs_check")
    assert capsys.readouterr().err == ""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("column", ["result", "started_at"])
def test_it_warns_of_a_missing_column(capsys, column):
    ddl(f"ALTER TABLE django_delayed_delayedjob RENAME COLUMN {column} TO former")
    try:
        call_command("jobs_check")
    finally:
        ddl(f"ALTER TABLE django_delayed_delayedjob RENAME COLUMN former TO {column}")
    assert capsys.readouterr().err == f"The table django_delayed_delayedjob has no column {column}.\n"


@pytest.mark.django_db(transaction=True)
def test_it_names_the_missing_column_when_the_queue_cannot_be_read(capsys):
    ddl("ALTER TABLE django_delayed_delayedjob RENAME COLUMN run_at TO former")
    try:
        with pytest.raises(CommandError, match="The queue cannot be read") as caught:
            call_command("jobs_check")
    finally:
        ddl("ALTER TABLE django_delayed_delayedjob RENAME COLUMN former TO run_at")
    assert caught.value.returncode == 2
    assert capsys.readouterr().err == "The table django_delayed_delayedjob has no column run_at.\n"


@pytest.mark.django_db(transaction=True)
def test_it_warns_of_a_missing_table(capsys):
    ddl("ALTER TABLE django_delayed_failedattempt RENAME TO former")
    try:
        call_command("jobs_check")
    finally:
        ddl("ALTER TABLE former RENAME TO django_delayed_failedattempt")
    assert capsys.readouterr().err == "There is no table django_delayed_failedattempt.\n"


def test_it_warns_of_a_migration_that_is_not_applied(capsys):
    MigrationRecorder(connection).record_unapplied("django_delayed", "0001_initial")
    call_command("jobs_check")
    assert capsys.readouterr().err == (
        "The migration 0001_initial of django_delayed is not applied: run `manage.py migrate`.\n"
    )


def test_a_project_that_makes_tables_without_migrations_is_not_warned(capsys, settings):
    MigrationRecorder(connection).record_unapplied("django_delayed", "0001_initial")
    settings.MIGRATION_MODULES = {"django_delayed": None}
    call_command("jobs_check")
    assert capsys.readouterr().err == ""


def test_tables_that_a_router_keeps_elsewhere_are_not_missing(capsys, settings, monkeypatch):
    class Elsewhere:
        def allow_migrate(self, db, app_label, **hints):
            return False

    monkeypatch.setattr(DelayedJob._meta, "db_table", "django_delayed_elsewhere")
    settings.DATABASE_ROUTERS = [Elsewhere()]
    assert list(missing_parts(connection, [DelayedJob])) == []
    settings.DATABASE_ROUTERS = []
    assert list(missing_parts(connection, [DelayedJob])) == ["There is no table django_delayed_elsewhere."]


# The report for programs


def report_of(capsys):
    """The JSON object that was written; there must be no other output."""
    written = capsys.readouterr()
    assert written.err == ""
    assert written.out.count("\n") == 1
    return json.loads(written.out)


def test_as_json_an_empty_queue_is_ok(capsys):
    call_command("jobs_check", "--json", "--max-age", "90")
    report = report_of(capsys)
    # On MariaDB it may be the age of a transaction of another database of the server.
    assert report["numbers"].pop("oldest_transaction") >= 0.0
    assert report.pop("numbers").items() <= stats.snapshot().as_json().items()
    assert report == {"max_age": 90.0, "status": "ok", "oldest": 0.0, "error": None, "warnings": []}


def test_as_json_it_says_for_how_long_the_oldest_job_has_waited(capsys):
    # The clock of SQLite has milliseconds, so a job that is exactly four minutes old may seem younger.
    job(timedelta(minutes=4, seconds=1))
    call_command("jobs_check", json=True)
    report = report_of(capsys)
    assert report["status"] == "ok"
    assert 240 <= report["oldest"] < 300
    assert report["numbers"]["queues"]["default"]["due"] == 1


def test_as_json_a_late_job_has_its_exit_code_and_error_too(capsys):
    job(HOUR + timedelta(seconds=1), queue="mail")
    with pytest.raises(CommandError, match="A job has been due for") as caught:
        call_command("jobs_check", "--json", "--queue", "mail")
    report = report_of(capsys)
    assert (caught.value.returncode, report["status"]) == (1, "late")
    assert report["error"] == str(caught.value)
    assert 3600 <= report["oldest"] < 7200
    call_command("jobs_check", "--json", "--queue", "default")
    report = report_of(capsys)
    # The check is about the queues that were named, and the numbers are about all queues.
    assert (report["status"], report["oldest"]) == ("ok", 0.0)
    assert report["numbers"]["queues"]["mail"]["waiting"] == 1


def test_as_json_its_warnings_are_a_list(capsys):
    PausedQueue.objects.create(pk="mail", paused_at=timezone.now())
    job(timedelta(0), queue="mail")
    MigrationRecorder(connection).record_unapplied("django_delayed", "0001_initial")
    call_command("jobs_check", "--json")
    assert report_of(capsys)["warnings"] == [
        "Paused, with waiting jobs until jobs_resume: mail.",
        "The migration 0001_initial of django_delayed is not applied: run `manage.py migrate`.",
    ]


@pytest.mark.django_db(transaction=True)
def test_as_json_a_queue_that_cannot_be_read_has_no_numbers(capsys):
    ddl("ALTER TABLE django_delayed_delayedjob RENAME COLUMN run_at TO former")
    try:
        with pytest.raises(CommandError) as caught:
            call_command("jobs_check", "--json")
    finally:
        ddl("ALTER TABLE django_delayed_delayedjob RENAME COLUMN former TO run_at")
    report = report_of(capsys)
    assert (caught.value.returncode, report["status"]) == (2, "unreadable")
    assert report["error"].startswith("The queue cannot be read: ")
    assert report["warnings"] == ["The table django_delayed_delayedjob has no column run_at."]
    assert (report["oldest"], report["numbers"]) == (None, None)


@pytest.mark.django_db(transaction=True)
def test_as_json_missing_tables_are_unreadable(capsys):
    ddl("ALTER TABLE django_delayed_delayedjob RENAME TO former")
    try:
        with pytest.raises(CommandError, match="has no table django_delayed_delayedjob") as caught:
            call_command("jobs_check", "--json")
    finally:
        ddl("ALTER TABLE former RENAME TO django_delayed_delayedjob")
    report = report_of(capsys)
    assert (caught.value.returncode, report["status"]) == (1, "unreadable")
    assert report["error"] == str(caught.value)


def test_its_exit_code_says_whether_a_job_is_late(command, ledger):
    assert command("jobs_check").ends() == 0
    Note.perform_later(str(ledger), "late")
    DelayedJob.objects.update(run_at=timezone.now() - HOUR)
    run = command("jobs_check")
    assert (run.ends(), run.output[:13]) == (1, "CommandError:")


def test_an_unavailable_database_has_its_own_exit_code(command, tmp_path):
    away = {"DATABASE_NAME": str(tmp_path / "no such folder" / "db")}
    if connection.vendor != "sqlite":
        away = {"PGPORT": "1", "MYSQL_TCP_PORT": "1"}
    run = command("jobs_check", environment=away)
    assert run.ends() == 2
    assert run.said("^CommandError: The queue cannot be read: ")
    assert not run.said("Traceback")
    run = command("jobs_check", "--json", environment=away)
    assert run.ends() == 2
    assert run.said('"status": "unreadable"')
