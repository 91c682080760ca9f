"""The loop of a worker, in the process of the tests."""

from datetime import timedelta

import pytest
from django.db import OperationalError
from django_delayed import enqueue_all
from django_delayed.conf import settings
from django_delayed.models import DelayedJob, WorkerProcess
from django_delayed.signals import queue_empty, worker_started, worker_stopped
from django_delayed.states import DelayedJobQuerySet
from django_delayed.worker.configuration import CODE_HAS_CHANGED, DONE, Configuration
from django_delayed.worker.waiting import SHORTEST_SLEEP
from django_delayed.worker.work_off import work_off
from tests.blog.jobs import Plain
from tests.blog.models import Post
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
    """Set how many seconds a batch may take before the rest of it is released."""
    return lambda seconds: monkeypatch.setattr("django_delayed.worker.worker.BATCH_SECONDS", seconds)


def numbers(diary):
    return [args[0] for _, args, _ in diary]


def ids(rows):
    return [row.pk for row in rows]


def test_a_short_batch_releases_nothing(worker, released, release_after, diary):
    release_after(3600)
    enqueue_all([Plain(number) for number in range(10)])
    assert worker.run() == DONE
    assert numbers(diary) == list(range(10))
    assert released == []


def test_a_batch_that_has_taken_long_is_released_after_the_present_job(
    worker, released, release_after, diary
):
    release_after(0)
    rows = enqueue_all([Plain(number) for number in range(5)])
    worker.run()
    assert released[0] == ids(rows[1:])
    assert numbers(diary) == list(range(5))
    assert not DelayedJob.objects.exists()


def test_a_stop_releases_the_rest_of_the_batch_at_once(worker, released, release_after, in_job, diary):
    release_after(3600)
    in_job(worker.shutdown.request)
    rows = enqueue_all([Plain(number) for number in range(3)])
    assert worker.run() == DONE
    assert released == [ids(rows)]
    assert diary == []
    assert [(row.state, row.attempts) for row in DelayedJob.objects.all()] == [("enqueued", 0)] * 3


def test_jobs_that_have_crashed_a_worker_come_last_in_their_batch(worker, release_after, diary):
    release_after(3600)
    rows = enqueue_all([Plain(number) for number in range(4)])
    DelayedJob.objects.filter(pk__in=ids([rows[0], rows[2]])).update(crashes=1)
    worker.run()
    assert numbers(diary) == [1, 3, 0, 2]


def test_a_job_that_has_crashed_a_worker_is_performed_when_its_worker_holds_no_other(
    worker, released, release_after, in_job
):
    release_after(3600)
    held = []
    rows = [in_job(lambda: held.append(ids(DelayedJob.objects.running().order_by("pk")))) for _ in range(3)]
    first, second, third = ids(rows)
    DelayedJob.objects.filter(pk__in=[first, second]).update(crashes=1)
    worker.run()
    assert held == [[first, second, third], [first], [second]]
    assert released == [[second]]


def test_it_counts_its_jobs_and_those_that_failed(worker, in_job):
    def fail():
        raise LookupError

    for function in (fail, lambda: None, fail, lambda: None, lambda: None):
        in_job(function)
    DelayedJob.objects.filter(pk=DelayedJob.objects.earliest("pk").pk).update(max_attempts=1)
    worker.run()
    assert worker.slot.tally[:2] == (5, 2)


# Its start and its end.


def claimed_by(worker):
    return DelayedJob.objects.running().filter(locked_by=worker.id).count()


@pytest.mark.parametrize("signal", [worker_started, worker_stopped])
def test_a_receiver_that_raises_at_its_start_or_end_changes_nothing(worker, signal, diary):
    heard = []

    def fail(worker, **what):
        heard.append((worker, what.get("process")))
        raise ValueError("the receiver is broken")

    signal.connect(fail)
    try:
        enqueue_all([Plain(1)])
        assert worker.run() == DONE
    finally:
        signal.disconnect(fail)
    assert numbers(diary) == [1]
    process = worker.configuration.process() if signal is worker_started else None
    assert heard == [(worker.id, process)]


@pytest.fixture
def heard_empty(diary):
    """Write down in the diary when the queue is empty."""

    def hear(worker, **_):
        diary.append(("queue_empty", worker))

    queue_empty.connect(hear)
    yield hear
    queue_empty.disconnect(hear)


def test_a_worker_that_has_nothing_more_to_do_says_so_once(worker, diary, heard_empty):
    enqueue_all([Plain(number) for number in range(25)])
    Plain.set(wait=3600).perform_later("later")
    assert worker.run() == DONE
    assert diary[25:] == [("queue_empty", worker.id)]
    assert worker.run() == DONE
    assert len(diary) == 26


def test_a_worker_says_once_that_it_has_found_work_and_is_idle_when_the_queue_is_empty(worker, diary):
    said = []
    worker.on_work = lambda: said.append(worker.activity.is_working)
    enqueue_all([Plain(number) for number in range(25)])
    assert worker.run() == DONE
    assert said == [True]
    assert not worker.activity.is_working
    assert worker.run() == DONE
    assert said == [True]
    Plain.perform_later("later")
    assert worker.run() == DONE
    assert said == [True, True]


def test_a_receiver_that_fills_an_empty_queue_hears_when_it_is_empty_again(worker, diary, heard_empty):
    waiting = [Plain(2), Plain(3)]

    def refill(**_):
        if waiting:
            enqueue_all([waiting.pop()])

    queue_empty.connect(refill)
    try:
        Plain.perform_later(1)
        worker.configuration = worker._waiting._configuration = Configuration(
            sleep_delay=timedelta(seconds=5)
        )
        stop_when(worker, lambda: len(diary) == 6)
        worker.run()
    finally:
        queue_empty.disconnect(refill)
    assert [entry[0] for entry in diary] == ["plain", "queue_empty"] * 3


def stop_when(worker, condition):
    """Have the worker stop, instead of waiting, as soon as the condition is true."""
    wait = worker._waiting.wait

    def wait_or_stop():
        wait() if not condition() else setattr(worker.shutdown, "requested", True)

    worker._waiting.wait = wait_or_stop


def test_an_empty_queue_at_the_start_is_not_announced(worker, diary, heard_empty):
    assert worker.run() == DONE
    assert diary == []


def test_its_end_is_announced_after_an_error_too(worker, monkeypatch):
    heard = []

    def hear(worker, **_):
        heard.append(worker)

    monkeypatch.setattr(DelayedJobQuerySet, "claim", lambda *args: 1 / 0)
    worker_stopped.connect(hear)
    try:
        with pytest.raises(ZeroDivisionError):
            worker.run()
    finally:
        worker_stopped.disconnect(hear)
    assert heard == [worker.id]


def test_at_its_end_it_keeps_no_session(worker, in_job):
    in_job(lambda: Post.objects.count())
    worker.run()
    assert worker.session._kept == {}


def test_a_worker_that_was_told_to_stop_claims_nothing(worker, diary):
    enqueue_all([Plain(1)])
    worker.shutdown.request()
    assert worker.run() == DONE
    assert diary == []


def test_while_it_has_no_heartbeat_it_claims_nothing(worker, monkeypatch, diary):
    enqueue_all([Plain(1)])
    asked = []

    def is_stale(span):
        asked.append((span, claimed_by(worker), list(diary)))
        return len(asked) < 3

    monkeypatch.setattr(worker.activity, "is_stale", is_stale)
    assert worker.run() == DONE
    assert asked[:3] == [(settings.LEASE / 2, 0, [])] * 3
    assert numbers(diary) == [1]


def test_a_stop_while_it_has_no_heartbeat_ends_it(worker, monkeypatch, diary):
    enqueue_all([Plain(1)])
    monkeypatch.setattr(worker.activity, "is_stale", lambda span: worker.shutdown.request() or True)
    assert worker.run() == DONE
    assert diary == []
    assert not DelayedJob.objects.running().exists()


class Unavailable:
    """A statement that fails each time; it requests a stop at the third and last time."""

    def __init__(self, error, stop):
        self.error, self.stop, self.asked = error, stop, 0

    def __call__(self, *args):
        self.asked += 1
        assert self.asked <= 3
        if self.asked == 3:
            self.stop()
        raise self.error


@pytest.mark.parametrize("verb", ["claim", "next_due"])
def test_a_stop_while_the_database_is_unavailable_ends_it_without_an_error(worker, monkeypatch, verb):
    statement = Unavailable(OperationalError("away"), worker.shutdown.request)
    monkeypatch.setattr(DelayedJobQuerySet, verb, statement)
    monkeypatch.setattr("django_delayed.worker.availability.backoff", lambda: iter([0.001] * 9))
    assert worker.run() == DONE
    assert statement.asked == 3


def test_a_claim_that_the_database_refuses_ends_it_with_the_error(worker, monkeypatch, refusal):
    claim = Unavailable(refusal, worker.shutdown.request)
    monkeypatch.setattr(DelayedJobQuerySet, "claim", claim)
    with pytest.raises(type(refusal)):
        worker.run()
    assert claim.asked == 1


class Code:
    """The code of a worker, which has changed at the look with this number."""

    def __init__(self, changes_at, is_due=False):
        self.is_due = is_due
        self.looks, self.changes_at = 0, changes_at

    def has_changed(self):
        self.looks += 1
        return self.looks == self.changes_at


@pytest.mark.parametrize(("look", "performed"), [(1, 4), (2, 8), (3, 10)])
def test_code_that_has_changed_ends_it_after_so_many_jobs(worker, monkeypatch, diary, look, performed):
    monkeypatch.setattr("django_delayed.worker.ending.RELOAD_EVERY", 4)
    enqueue_all([Plain(number) for number in range(10)])
    worker._ending.code = Code(changes_at=look)
    assert worker.run() == (CODE_HAS_CHANGED if look < 3 else DONE)
    assert len(diary) == performed
    assert worker._ending.code.looks == min(look, 2)
    assert not DelayedJob.objects.running().exists()


def test_code_that_has_changed_ends_it_before_a_claim_when_the_next_look_is_due(worker, diary):
    enqueue_all([Plain(1)])
    worker._ending.code = Code(changes_at=1, is_due=True)
    assert worker.run() == CODE_HAS_CHANGED
    assert diary == []


@pytest.mark.parametrize("changes", [True, False])
def test_code_that_has_changed_ends_it_after_a_sleep(worker, monkeypatch, changes):
    slept = []

    def sleep(seconds, is_one_due):
        slept.append(seconds)
        if len(slept) == 3:
            worker.shutdown.request()

    monkeypatch.setattr(worker._waiting._idle, "sleep", sleep)
    worker.configuration = worker._waiting._configuration = Configuration()
    worker._ending.code = Code(changes_at=2 if changes else 9)
    assert worker.run() == (CODE_HAS_CHANGED if changes else DONE)
    assert slept == [5, 5] if changes else [5, 5, 5]


@pytest.fixture
def waits(worker, monkeypatch):
    """How long the worker means to sleep when the next row is due in so many seconds."""

    def wait(due_in):
        slept = []
        monkeypatch.setattr(worker._waiting, "_due_in", lambda recent: due_in)
        waiting = worker._waiting
        monkeypatch.setattr(waiting._idle, "sleep", lambda seconds, is_one_due: slept.append(seconds))
        monkeypatch.setattr(waiting, "_configuration", Configuration(sleep_delay=timedelta(seconds=5)))
        waiting.wait()
        return slept[0]

    return wait


@pytest.mark.parametrize(
    ("due_in", "seconds"), [(None, 5), (2.5, 2.5), (60, 5), (0.001, SHORTEST_SLEEP), (5, 5)]
)
def test_it_sleeps_until_the_next_row_is_due_and_no_longer_than_its_delay(waits, due_in, seconds):
    for _ in range(3):
        assert waits(due_in) == seconds


@pytest.mark.parametrize("due_in", [0, -60])
def test_due_rows_that_others_lock_are_looked_for_less_and_less_often(waits, due_in):
    found = [waits(due_in) for _ in range(12)]
    assert found[:4] == [SHORTEST_SLEEP * 2**number for number in range(1, 5)]
    assert found[-1] == 5
    assert waits(2.5) == 2.5
    assert waits(due_in) == SHORTEST_SLEEP * 2


def test_a_worker_that_ends_when_nothing_is_ready_waits_for_rows_that_others_lock(worker, monkeypatch):
    pauses, due = [], iter([-1, -1, -1, -1, 3600])
    monkeypatch.setattr(worker._waiting, "_due_in", lambda recent=0: next(due))
    monkeypatch.setattr(worker.wakeup, "wait", pauses.append)
    assert worker.run() == DONE
    assert pauses == [SHORTEST_SLEEP * 2, SHORTEST_SLEEP * 4]
