"""The clock of the database is the only one, and its times are the datetimes that Django stores.

These tests pass on a server in any time zone; one run of the suite has MariaDB at +09:00. Other processes
test what must be set before Django starts: USE_TZ and the TIME_ZONE of the database.
"""

import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone
from django_delayed.databases import Database, DatabaseNow, aware, database_now, virtual_time
from django_delayed.models import DelayedJob, WorkerProcess

WALL_CLOCK = Path(__file__).with_name("wall_clock.py")
ABOUT = timedelta(minutes=10)


def is_about(value, expected):
    return abs(value - expected) < ABOUT


@pytest.mark.django_db
def test_the_database_and_this_machine_agree_what_time_it_is(add):
    row = add()
    assert is_about(row.created_at, timezone.now())
    assert row.created_at.utcoffset() == timedelta(0)
    read = DelayedJob.objects.get()
    assert (read.run_at, read.created_at) == (row.run_at, row.created_at)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "wait", [timedelta(seconds=1), timedelta(days=-1), timedelta(days=400), timedelta(microseconds=1500)]
)
def test_a_wait_is_counted_by_the_database(add, wait):
    row = add(due=wait.total_seconds())
    row = DelayedJob.objects.get(pk=row.pk)
    assert abs(row.run_at - row.created_at - wait) <= timedelta(seconds=1)


@pytest.mark.django_db
def test_a_time_that_django_stores_is_due_by_the_clock_of_the_database(add):
    row = add()
    for run_at, is_due in [(timezone.now() - ABOUT, True), (timezone.now() + ABOUT, False)]:
        DelayedJob.objects.update(run_at=run_at)
        assert DelayedJob.objects.ready().exists() is is_due
        assert DelayedJob.objects.scheduled().exists() is not is_due
        assert (DelayedJob.objects.next_due() <= 0) is is_due
        assert [claimed.pk for claimed in DelayedJob.objects.claim("1" * 32)] == [row.pk] * is_due
        DelayedJob.objects.update(locked_at=None, attempts=0)


@pytest.mark.django_db
def test_every_time_that_a_move_writes_is_the_databases_now(add):
    add(due=-1, keep_for=timedelta(hours=1))
    [row] = DelayedJob.objects.claim("1" * 32)
    assert is_about(row.locked_at, timezone.now())
    assert row.started_at == row.locked_at
    DelayedJob.objects.finish(row)
    assert is_about(DelayedJob.objects.get().finished_at, timezone.now())


@pytest.mark.django_db
def test_a_worker_is_stale_when_its_heartbeat_is_a_lease_old():
    WorkerProcess.objects.create(
        id="1" * 32, hostname="host", pid=1, started_at=timezone.now(), heartbeat_at=DatabaseNow()
    )
    WorkerProcess.objects.create(
        id="2" * 32,
        hostname="host",
        pid=2,
        started_at=timezone.now(),
        heartbeat_at=DatabaseNow(plus=timedelta(hours=-1)),
    )
    silent = WorkerProcess.objects.stale(timedelta(minutes=30))
    assert list(silent.values_list("pid", flat=True)) == [2]


@pytest.mark.django_db(transaction=True)
def test_the_clock_moves_on_inside_a_long_transaction(add):
    with transaction.atomic():
        first = add().created_at
        with connection.cursor() as cursor:
            cursor.execute(
                {"postgresql": "SELECT pg_sleep(0.05)", "mysql": "SELECT sleep(0.05)"}.get(
                    connection.vendor,
                    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
                    " WHERE i < 1000000) SELECT max(i) FROM n",
                )
            )
            cursor.fetchall()
        assert add().created_at > first
        assert DelayedJob.objects.filter(created_at__lt=DatabaseNow()).exists()


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
@pytest.mark.parametrize("use_tz", ["use_tz", "use_tz and a zone of the database", "naive"])
def test_the_clock_agrees_with_what_django_stores(child_environment, zone, use_tz):
    if "zone of the" in use_tz and connection.vendor == "postgresql":
        zone = "UTC"  # its datetimes have a time zone: the option changes nothing there
    environment = {**child_environment, "WALL_CLOCK": f"{use_tz}, {zone}"}
    done = subprocess.run(
        [sys.executable, WALL_CLOCK], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "all is well\n")


@pytest.fixture
def at_home_in_paris(transactional_db):
    """The connection, with a TIME_ZONE in which the clocks change; MySQL and SQLite store its wall clock."""
    wrapper = connections[connection.alias]
    given = wrapper.settings_dict["TIME_ZONE"]

    def set_zone(name):
        wrapper.close()
        wrapper.settings_dict["TIME_ZONE"] = name
        for remembered in ("timezone", "timezone_name"):
            wrapper.__dict__.pop(remembered, None)

    set_zone("Europe/Paris")
    yield wrapper.timezone
    set_zone(given)


def test_a_wait_across_a_change_of_the_clocks_is_as_long_as_it_says(at_home_in_paris, add):
    assert at_home_in_paris == ZoneInfo("Europe/Paris")
    now = datetime.now(at_home_in_paris)
    offsets = set()
    for months in range(1, 13):
        # At noon, no wall clock is ambiguous.
        year, month = divmod(now.year * 12 + now.month - 1 + months, 12)
        wait = datetime(year, month + 1, 1, 12, tzinfo=at_home_in_paris).astimezone(UTC) - now
        row = add(due=wait.total_seconds())
        read = DelayedJob.objects.get(pk=row.pk)
        # They are compared in UTC, because Python subtracts the wall clocks of two times in one zone.
        run_at, created_at = read.run_at.astimezone(UTC), read.created_at.astimezone(UTC)
        assert abs(run_at - created_at - wait) < timedelta(seconds=1)
        offsets.add(run_at.astimezone(at_home_in_paris).utcoffset())
    assert len(offsets) == 2


@pytest.mark.django_db
def test_time_that_passes_at_once_passes_for_every_statement(add):
    row = add(due=7 * 86400)
    with virtual_time() as time:
        time.advance(timedelta(days=6))
        assert 0 < DelayedJob.objects.next_due() < 86401
        assert not DelayedJob.objects.ready().exists()
        with virtual_time() as inner:
            inner.advance(timedelta(days=1, seconds=1))
            assert DelayedJob.objects.next_due() < 0
            assert DelayedJob.objects.ready().exists()
            [claimed] = DelayedJob.objects.claim("1" * 32)
            assert abs(claimed.locked_at - row.run_at) < ABOUT
        assert (time.passed, inner.passed) == (timedelta(days=6), timedelta(days=1, seconds=1))
        assert is_about(add().created_at, timezone.now() + timedelta(days=6))
    assert is_about(add().created_at, timezone.now())


def test_time_is_right_again_after_an_error():
    with suppress(LookupError), virtual_time() as time:
        time.advance(timedelta(days=6))
        raise LookupError
    assert timedelta(0) == Database.ahead


@pytest.mark.django_db
def test_the_time_of_the_database_can_be_read_by_itself():
    now = database_now(connection)
    assert now.tzinfo is UTC
    assert is_about(now, timezone.now())
    with virtual_time() as time:
        time.advance(timedelta(days=40))
        assert is_about(database_now(connection), now + timedelta(days=40))


@pytest.mark.parametrize("use_tz", [True, False])
@pytest.mark.parametrize("fold", [0, 1])
def test_an_hour_that_comes_twice_is_distinguished_without_time_zones_too(settings, use_tz, fold):
    settings.USE_TZ, settings.TIME_ZONE = use_tz, "Europe/Paris"
    moment = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Paris"), fold=fold)
    said = moment if use_tz else moment.replace(tzinfo=None, fold=0)
    with virtual_time() as time:
        time.advance(moment.astimezone(UTC) - datetime.now(UTC))
        assert aware(said) == moment.astimezone(UTC)
