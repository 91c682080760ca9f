"""A key is free when its job has ended in any way, and no row of a key stays for ever."""

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone
from django_delayed import Unique, dequeue, enqueue_all
from django_delayed.features.unique import holding
from django_delayed.features.unique.holding import remove_free
from django_delayed.models import DelayedJob, UniqueKey, WorkerProcess
from django_delayed.serialization.errors import describe
from django_delayed.supervisor.maintenance import KeyCheck
from django_delayed.worker.recovery import recover_stale
from tests.blog.jobs import Plain
from tests.blog.work import WORKER, claim, perform_next

HOUR = timedelta(hours=1)
ERROR = describe(ValueError("it broke"))
FINISH = Unique(until="finish")

pytestmark = pytest.mark.django_db(transaction=True)

jobs = DelayedJob.objects


def failed():
    row = claim()
    assert jobs.fail(row, ERROR)
    return row


def expired():
    jobs.update(keep_for=timedelta(0))
    assert jobs.finish(claim())
    assert jobs.prune() == 1


def expired_failed():
    failed()
    jobs.failed().update(expires_at=timezone.now() - HOUR)
    assert jobs.prune() == 1


def crashed_for_good():
    row = claim()
    assert jobs.crash(row, ERROR, None)


def removed_by_sql():
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_delayed_delayedjob")


# The ways to end a waiting unique job.
ENDS = {
    "performed": perform_next,
    "finished and kept": lambda: (jobs.update(keep_for=HOUR), jobs.finish(claim())),
    "failed": failed,
    "failed and expired": expired_failed,
    "cancelled": lambda: jobs.all().cancel(),
    "ended while it ran": lambda: jobs.cancel_held(claim(), ERROR),
    "discarded by itself": lambda: jobs.discard_held(claim()),
    "crashed too often": crashed_for_good,
    "set aside": lambda: jobs.set_aside(list(jobs.values_list("pk", flat=True))),
    "kept and expired": expired,
    "discarded by an operator": lambda: jobs.discard(),
    "dequeued": lambda: dequeue(Plain, 1),
    "deleted by a queryset": lambda: jobs.all().delete(),
    "deleted alone": lambda: jobs.earliest("pk").delete(),
    "deleted by SQL": removed_by_sql,
    "cleared": lambda: call_command("jobs_clear", interactive=False, verbosity=0),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("until", ["start", "finish"])
def test_a_key_is_free_when_its_job_has_ended(write, end, until):
    unique = Unique(until=until)
    write(1, unique=unique)
    assert write(1, unique=unique) is None
    end()
    assert write(1, unique=unique) is not None


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_the_row_of_a_key_is_removed_when_its_job_has_ended(write, end, holders):
    write(1, unique=FINISH)
    other = write(2, unique=FINISH, wait=HOUR)
    end()
    KeyCheck().run()
    assert holders() == [other.pk for _ in jobs.waiting().filter(pk=other.pk)]


def test_a_job_of_a_dead_worker_holds_its_key_until_it_is_performed(write):
    write(1, unique=FINISH)
    write(2)
    jobs.claim(WORKER, 1)
    WorkerProcess.objects.create(
        id=WORKER, hostname="host", pid=1, started_at=timezone.now(), heartbeat_at=timezone.now() - HOUR
    )
    assert recover_stale() == 1
    assert jobs.retrying().count() == 1
    assert write(1, unique=FINISH) is None
    assert write(2) is None
    jobs.retrying().run_now()
    perform_next()
    perform_next()
    assert write(1, unique=FINISH) is not None


@pytest.mark.parametrize("unique", [Unique(), FINISH])
def test_a_key_stays_as_long_as_its_job_may_hold_it(write, holders, unique):
    row = write(1, unique=unique)
    for move in (
        lambda: jobs.claim(WORKER),
        lambda: jobs.running().release(jobs.running()),
        lambda: jobs.claim(WORKER),
        lambda: jobs.reschedule(jobs.get(), ERROR, -HOUR),
        lambda: jobs.claim(WORKER),
    ):
        assert move()
        KeyCheck().run()
        assert holders() == [row.pk]


def test_the_key_check_goes_through_all_keys_in_batches(write, holders, monkeypatch):
    monkeypatch.setattr(holding, "KEYS_AT_A_TIME", 10)
    enqueue_all([Plain(n) for n in range(35)], unique=True)
    assert remove_free(jobs.all(), "")[0] == 0
    after, rounds = "", 0
    while rounds == 0 or after:
        removed, after = remove_free(jobs.all(), after)
        rounds += 1
        assert removed == 0
    assert rounds == 4
    kept = set(jobs.order_by("pk").values_list("pk", flat=True)[:5])
    jobs.exclude(pk__in=kept).delete()
    check = KeyCheck()
    for _ in range(4):
        check.run()
    assert set(holders()) == kept


def test_without_unique_jobs_the_key_check_takes_one_query(django_assert_num_queries):
    with django_assert_num_queries(1):
        KeyCheck().run()


def test_a_key_that_is_taken_meanwhile_is_not_removed(write, holders, monkeypatch):
    write(1)
    jobs.all().delete()
    taken = []

    def take_first(execute, sql, params, many, context):
        if "IN (NULL" in sql and not taken:
            taken.append(None)
            taken[0] = UniqueKey.objects.update(delayed_job_id=write(2).pk)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(take_first):
        assert remove_free(jobs.all(), "")[0] == 0
    assert holders() == list(jobs.values_list("pk", flat=True)) * 2


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no row locks")
def test_the_key_check_waits_for_no_transaction(write, in_thread):
    write(1)
    jobs.all().delete()
    with transaction.atomic():
        write(1)
        assert in_thread(lambda: remove_free(DelayedJob.objects.all(), "")).result(timeout=30) == (0, "")
