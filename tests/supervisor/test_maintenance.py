"""What a supervisor does from time to time, on a clock that the test sets."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import OperationalError
from django.utils import timezone
from django_delayed import enqueue
from django_delayed.conf import settings as delayed
from django_delayed.models import DelayedJob, FailureGroup, JobStat, Schedule, ScheduleRun, WorkerProcess
from django_delayed.supervisor import maintenance
from django_delayed.supervisor.maintenance import DeadWorkerCheck, remove_expired
from tests.blog.jobs import Plain
from tests.connections import wrapped

DEAD, ALIVE = "1" * 32, "2" * 32

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def clock(monkeypatch):
    """The time since boot, which goes on by `clock.now += seconds`."""
    clock = SimpleNamespace(now=1_000_000.0)
    monkeypatch.setattr(maintenance, "since_boot", lambda: clock.now)
    return clock


@pytest.fixture
def dead():
    """A worker that died two leases ago while it held a job."""
    enqueue(Plain(1))
    [row] = DelayedJob.objects.claim(DEAD)
    WorkerProcess.objects.create(
        id=DEAD,
        hostname="host",
        pid=1,
        started_at=timezone.now(),
        heartbeat_at=timezone.now() - 2 * delayed.LEASE,
    )
    return row


def is_recovered(row):
    return not WorkerProcess.objects.exists() and not DelayedJob.objects.running().filter(pk=row.pk).exists()


def test_a_supervisor_recovers_the_jobs_of_dead_workers_at_its_first_check(clock, dead):
    DeadWorkerCheck().run()
    assert is_recovered(dead)


@pytest.mark.parametrize("share", [0.51, 1, 1000])
def test_after_it_was_suspended_itself_a_supervisor_waits_a_lease_first(clock, dead, share):
    check, lease = DeadWorkerCheck(), delayed.LEASE.total_seconds()
    clock.now += share * lease
    resumed = clock.now
    while clock.now < resumed + lease:
        check.run()
        assert not is_recovered(dead)
        clock.now += lease / 6
    check.run()
    assert is_recovered(dead)


def test_a_check_that_is_a_little_late_does_not_wait(clock, dead):
    check = DeadWorkerCheck()
    clock.now += 0.49 * delayed.LEASE.total_seconds()
    check.run()
    assert is_recovered(dead)


def test_the_wait_begins_when_the_database_can_be_written_again(clock, dead):
    check, lease = DeadWorkerCheck(), delayed.LEASE.total_seconds()

    def refuse_writes(execute, sql, params, many, context):
        if not sql.startswith("SELECT"):
            raise OperationalError("attempt to write a readonly database")
        return execute(sql, params, many, context)

    with wrapped(refuse_writes):
        for _ in range(6):
            with pytest.raises(OperationalError):
                check.run()
            clock.now += lease / 6
    check.run()
    assert not is_recovered(dead)
    clock.now += lease / 3
    check.run()
    clock.now += lease / 3
    check.run()
    assert not is_recovered(dead)
    clock.now += lease / 3 + 1
    check.run()
    assert is_recovered(dead)


def test_asking_whether_the_database_can_be_written_changes_no_worker(clock):
    before = timezone.now() - timedelta(seconds=10)
    WorkerProcess.objects.create(id=ALIVE, hostname="host", pid=1, started_at=before, heartbeat_at=before)
    DeadWorkerCheck().run()
    assert WorkerProcess.objects.get().heartbeat_at == before


def test_rows_that_have_expired_are_removed():
    rows = [enqueue(Plain(number)) for number in range(3)]
    now = timezone.now()
    for row, expires_at in zip(
        rows, [now - timedelta(seconds=60), now + timedelta(seconds=60), None], strict=True
    ):
        DelayedJob.objects.filter(pk=row.pk).update(finished_at=now, expires_at=expires_at)
    assert remove_expired() == 1
    assert [row.pk for row in DelayedJob.objects.order_by("pk")] == [row.pk for row in rows[1:]]


def test_the_numbers_of_old_minutes_are_removed():
    numbers = dict.fromkeys(("processed", "failed", "waited", "ran", "longest"), 1)
    for hours in (1, 100):
        JobStat.objects.create(id=hours, minute=timezone.now() - timedelta(hours=hours), **numbers)
    assert remove_expired() == 1
    assert JobStat.objects.get().pk == 1


@pytest.mark.parametrize(("kept_for", "known"), [(timedelta(days=30), ["c1"]), (None, [])])
def test_a_cause_whose_last_job_expires_stays_known(settings, kept_for, known):
    settings.DJANGO_DELAYED = {"KEEP_FAILED_FOR": kept_for}
    failed_at = timezone.now() - timedelta(days=31)
    for fingerprint, expires_at in [("c1", timezone.now()), ("c2", timezone.now() + timedelta(days=1))]:
        row = enqueue(Plain(1))
        columns = {"failed_at": failed_at, "expires_at": expires_at, "error_fingerprint": fingerprint}
        DelayedJob.objects.filter(pk=row.pk).update(**columns)
    assert remove_expired() == 1
    assert list(FailureGroup.objects.values_list("pk", flat=True)) == known
    # Nobody has settled it.
    assert not FailureGroup.objects.exclude(settled_at=None).exists()


def test_the_last_hundred_runs_of_each_schedule_are_kept():
    first, other = (
        Schedule.objects.create(name=name, job="a:B", every=timedelta(seconds=1), since=0) for name in "ab"
    )
    now = timezone.now()
    ScheduleRun.objects.bulk_create(
        ScheduleRun(schedule=schedule, tick=tick, created_at=now)
        for tick in range(105)
        for schedule in (first, other)
        if schedule == first or tick < 100
    )
    assert remove_expired() == 5
    assert [*first.runs.order_by("tick").values_list("tick", flat=True)] == [*range(5, 105)]
    assert other.runs.count() == 100
    assert remove_expired() == 0
