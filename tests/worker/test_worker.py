"""The loop of a worker, in the process of the tests."""

from datetime import timedelta

import pytest
from django.db import OperationalError
from django_delayed import enqueue_all
from django_delayed.models import DelayedJob, WorkerProcess
from django_delayed.states import DelayedJobQuerySet
from django_delayed.worker.activity import Activity
from django_delayed.worker.configuration import Configuration
from django_delayed.worker.shutdown import Shutdown
from django_delayed.worker.wakeup import Wakeup
from django_delayed.worker.work_off import work_off
from django_delayed.worker.worker import Worker
from tests.blog.jobs import Plain
from tests.connections import wrapped

pytestmark = pytest.mark.django_db(transaction=True)


def test_rows_of_a_claim_whose_answer_was_lost_are_released_and_performed(diary, caplog):
    enqueue_all([Plain(number) for number in range(3)])
    lost = []

    def lose_the_answer(execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        if "attempts = attempts + 1" in sql and not lost:
            lost.extend(DelayedJob.objects.running())
            raise OperationalError("the connection was cut")
        return result

    with wrapped(lose_the_answer):
        assert work_off(Configuration()) is True
    assert len(lost) == 1
    assert "The database is unavailable, trying again in" in caplog.text
    assert sorted(diary) == [("plain", (number,), {}) for number in range(3)]
    assert not DelayedJob.objects.exists()
    assert not WorkerProcess.objects.exists()


# One batch.


@pytest.fixture
def worker():
    """A worker that claims ten rows at once, and ends when nothing is ready."""
    wakeup, activity = Wakeup(), Activity()
    with Shutdown() as shutdown:
        worker = Worker("1" * 32, Configuration(sleep_delay=timedelta(0)), wakeup, shutdown, activity)
        worker.batch_size.size = 10
        yield worker
    activity.close()
    wakeup.close()


@pytest.fixture
def released(monkeypatch):
    """The ids of the rows that each release was asked for."""
    release, asked = DelayedJobQuerySet.release, []

    def note(queryset, rows):
        rows = list(rows)
        asked.append([row.pk for row in rows])
        return release(queryset, rows)

    monkeypatch.setattr(DelayedJobQuerySet, "release", note)
    return asked


@pytest.fixture
def release_after(monkeypatch):
    """Set how long a batch may take before the rest of it is released."""
    return lambda **span: monkeypatch.setattr("django_delayed.worker.worker.RELEASE_AFTER", timedelta(**span))


def numbers(diary):
    return [args[0] for _, args, _ in diary]


def ids(rows):
    return [row.pk for row in rows]


def test_a_batch_that_is_short_releases_nothing(worker, released, release_after, diary):
    release_after(hours=1)
    enqueue_all([Plain(number) for number in range(10)])
    assert worker.run() is False
    assert numbers(diary) == list(range(10))
    assert released == []


def test_a_batch_that_has_taken_long_is_released_after_the_present_job(
    worker, released, release_after, diary
):
    release_after(hours=0)
    rows = enqueue_all([Plain(number) for number in range(5)])
    worker.run()
    assert released[0] == ids(rows[1:])
    assert numbers(diary) == list(range(5))
    assert not DelayedJob.objects.exists()


def test_a_stop_releases_the_rest_of_the_batch_at_once(worker, released, release_after, in_job, diary):
    release_after(hours=1)
    in_job(worker.shutdown.request)
    rows = enqueue_all([Plain(number) for number in range(3)])
    assert worker.run() is False
    assert released == [ids(rows)]
    assert diary == []
    assert [(row.state, row.attempts) for row in DelayedJob.objects.all()] == [("enqueued", 0)] * 3


def test_jobs_that_have_crashed_a_worker_come_last_in_their_batch(worker, release_after, diary):
    release_after(hours=1)
    rows = enqueue_all([Plain(number) for number in range(4)])
    DelayedJob.objects.filter(pk__in=ids([rows[0], rows[2]])).update(crashes=1)
    worker.run()
    assert numbers(diary) == [1, 3, 0, 2]


def test_a_job_that_has_crashed_a_worker_is_performed_when_its_worker_holds_no_other(
    worker, released, release_after, in_job
):
    release_after(hours=1)
    held = []
    rows = [in_job(lambda: held.append(ids(DelayedJob.objects.running().order_by("pk")))) for _ in range(3)]
    first, second, third = ids(rows)
    DelayedJob.objects.filter(pk__in=[first, second]).update(crashes=1)
    worker.run()
    assert held == [[first, second, third], [first], [second]]
    assert released == [[second]]
