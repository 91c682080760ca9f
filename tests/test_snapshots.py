"""All numbers of the queue at one moment, and which workers claim from which lanes."""

import json
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from django_delayed import claiming, stats
from django_delayed.databases import Lane, database
from django_delayed.databases.base import OpenTransaction
from django_delayed.models import DelayedJob, JobStat, PausedQueue, WorkerProcess
from django_delayed.stats import snapshots
from tests.lanes import no_lanes_are_remembered

__all__ = ["no_lanes_are_remembered"]

pytestmark = pytest.mark.django_db

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
# SQLite does not know about other transactions, so one statement is missing there.
STATEMENTS = 7 if connection.vendor == "sqlite" else 8


def due(queue="default", priority=0, **columns):
    given = {"name": "job", "payload": "{}", "run_at": timezone.now() - HOUR}
    return DelayedJob.objects.create(queue=queue, priority=priority, **(given | columns))


def worker(queues="", silent_for=timedelta(0), slots=1, **columns):
    now = timezone.now()
    return WorkerProcess.objects.create(
        id=str(WorkerProcess.objects.count() + 1),
        hostname="h",
        pid=1,
        queues=queues,
        started_at=now - HOUR,
        heartbeat_at=now - silent_for,
        slots=json.dumps([None] * slots),
        **columns,
    )


def test_an_empty_queue_has_its_numbers_too(settings):
    settings.DJANGO_DELAYED = {"QUEUE_ATTRIBUTES": {"mail": {"priority": -5}}}
    found = stats.snapshot()
    assert found.queues == {"default": stats.QueueNumbers(), "mail": stats.QueueNumbers()}
    assert found.served_by == {"default": 0, "mail": 0}
    assert found.totals == stats.Totals(0, 0, 0, 0, 0)
    assert (found.lanes, found.last_minute) == (0, None)
    assert found.workers == stats.WorkerNumbers(0, 0, 0, 0)


def test_the_numbers_are_those_of_the_queues_and_of_all(settings):
    now = timezone.now()
    due("mail")
    due("mail", 1)
    due("index", attempts=3, run_at=now + HOUR)
    due("index", attempts=1, locked_at=now, locked_by="w")
    due("index", attempts=25, failed_at=now - MINUTE)
    due("index", attempts=25, failed_at=now - 2 * HOUR)
    found = stats.snapshot()
    assert set(found.queues) == {"default", "mail", "index"}
    mail, index = found.queues["mail"], found.queues["index"]
    assert (mail.waiting, mail.due, mail.running, mail.failed) == (2, 2, 0, 0)
    assert HOUR <= mail.oldest < 2 * HOUR
    assert (index.waiting, index.due, index.running, index.failed) == (1, 0, 1, 2)
    assert found.totals == stats.Totals(failed=2, failed_lately=1, retrying=1, running=1, waiting=3)
    assert found.lanes == 3


def test_workers_are_counted_by_whether_they_claim_and_send_heartbeats():
    worker(slots=4)
    worker(slots=2)
    worker(slots=8, quiet=True)
    worker(slots=16, silent_for=HOUR)
    worker(slots=32, silent_for=HOUR, quiet=True)
    assert stats.snapshot().workers == stats.WorkerNumbers(claiming=2, quiet=1, silent=2, slots=6)


def test_a_queue_is_served_by_the_workers_that_claim_from_its_due_jobs():
    due("mail", priority=0)
    due("mail", priority=50)
    due("mail", priority=90, run_at=timezone.now() + HOUR)
    due("index", priority=90, run_at=timezone.now() + HOUR)
    due("slow")
    worker()
    worker("mail", max_priority=60)
    worker("mail", max_priority=10)
    worker("mail", quiet=True)
    worker("mail", silent_for=HOUR)
    worker("index,!slow", max_priority=10)
    # In mail, the job of priority 50 is served by the fewest workers; the job that is not due does not count.
    assert stats.snapshot().served_by == {"default": 1, "mail": 2, "index": 1, "slow": 1}


def test_workers_by_pattern_and_priority():
    found = [worker("mail_*"), worker("!mail_slow"), worker(min_priority=5)]
    for lane, number in [
        (Lane("mail_1", 0, 0.0), 2),
        (Lane("mail_slow", 0, 0.0), 1),
        (Lane("mail_slow", 5, 0.0), 2),
        (Lane("other", 4, 0.0), 1),
    ]:
        assert stats.served_by(lane, found) == number, lane


def test_the_last_minute_is_the_last_one_that_was_written():
    minute = timezone.now().replace(second=30, microsecond=0)
    for number in range(6):
        JobStat.objects.create(
            id=number,
            minute=minute - number * MINUTE,
            processed=10,
            failed=2,
            waited=5.0,
            ran=1.0,
            longest=3.0,
        )
    last = stats.snapshot().last_minute
    assert (last.processed, last.failed, last.average, last.longest) == (10, 2, 0.5, 3.0)


def test_it_has_the_age_of_the_oldest_transaction(monkeypatch):
    assert stats.snapshot().oldest_transaction >= timedelta(0)
    oldest = OpenTransaction("pid 7", HOUR)
    monkeypatch.setattr(type(database(connection)), "oldest_transaction", lambda self: oldest)
    assert stats.snapshot().oldest_transaction == HOUR


def test_it_takes_the_same_statements_whatever_the_table_holds(django_assert_num_queries):
    due()
    with django_assert_num_queries(STATEMENTS):
        stats.snapshot()
    now = timezone.now()
    for number in range(40):
        due(f"queue {number}", number % 3)
        due(f"queue {number}", attempts=1, locked_at=now, locked_by="w")
        due(f"queue {number}", attempts=25, failed_at=now)
        worker(f"queue {number}")
    claiming.forget_lanes()
    with django_assert_num_queries(STATEMENTS):
        assert len(stats.snapshot().queues) == 41


def test_it_names_a_limited_number_of_queues_and_those_of_the_settings(monkeypatch):
    monkeypatch.setattr(snapshots, "MOST_QUEUES", 3)
    for number in range(6):
        due(f"queue {number}", run_at=timezone.now() - HOUR)
    assert list(stats.snapshot().queues) == ["default", "queue 0", "queue 1", "queue 2"]


def test_as_json_it_has_seconds_and_no_other_type():
    PausedQueue.objects.create(pk="mail", paused_at=timezone.now())
    due("mail", run_at=timezone.now() - HOUR)
    worker()
    found = json.loads(json.dumps(stats.snapshot().as_json()))
    oldest = found["queues"]["mail"].pop("oldest")
    assert 3600 <= oldest < 7200
    assert found.pop("oldest_transaction") >= 0.0
    none = {"waiting": 0, "due": 0, "running": 0, "failed": 0, "is_paused": False, "served_by": 1}
    assert found == {
        "queues": {
            "default": none | {"oldest": 0.0},
            "mail": none | {"waiting": 1, "due": 1, "is_paused": True},
        },
        "failed": 0,
        "failed_lately": 0,
        "retrying": 0,
        "running": 0,
        "waiting": 1,
        "lanes": 1,
        "workers": {"claiming": 1, "quiet": 0, "silent": 0, "slots": 1},
        "last_minute": {"processed": 0, "failed": 0, "average_wait": 0.0, "longest_wait": 0.0},
    }
