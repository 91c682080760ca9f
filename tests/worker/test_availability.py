"""Statements and periodic tasks while the database is unavailable."""

import time
from datetime import timedelta
from itertools import pairwise
from types import SimpleNamespace

import pytest
from django.db import DataError, IntegrityError, InternalError, OperationalError, connection
from django_delayed.worker import availability
from django_delayed.worker.availability import LONGEST_PAUSE, PeriodicTask, backoff, repeat_while_unavailable


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(availability, "backoff", lambda: iter([0.001] * 100))


def test_pauses_double_up_to_five_seconds():
    waits = backoff()
    found = [next(waits) for _ in range(12)]
    for number, pause in enumerate(found):
        middle = min(0.1 * 2**number, LONGEST_PAUSE)
        assert 0.75 * middle <= pause <= 1.25 * middle
    # So there are no more than thirty tries to connect in a minute.
    assert sum(found) > 25


class Unavailable:
    """A database that is unavailable for so many statements."""

    def __init__(self, times, error=OperationalError):
        self.left, self.error, self.asked = times, error, 0

    def __call__(self):
        self.asked += 1
        if self.left:
            self.left -= 1
            raise self.error("away")
        return "here"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [OperationalError, InternalError])
def test_operation_is_repeated_until_the_database_is_back(impatient, wakeup, error):
    assert repeat_while_unavailable(Unavailable(20, error), wakeup, give_up=lambda error: False) == "here"


@pytest.mark.django_db(transaction=True)
def test_operation_that_may_be_given_up_is_tried_once(impatient, wakeup):
    assert repeat_while_unavailable(Unavailable(0), wakeup, give_up=lambda error: True) == "here"
    with pytest.raises(OperationalError):
        repeat_while_unavailable(Unavailable(1), wakeup, give_up=lambda error: True)


@pytest.mark.django_db
def test_operation_in_a_callers_transaction_is_not_repeated(wakeup):
    database = Unavailable(1)
    with pytest.raises(OperationalError):
        repeat_while_unavailable(database, wakeup, give_up=lambda error: False)
    assert database.asked == 1


@pytest.mark.django_db(transaction=True)
def test_error_of_another_kind_is_not_repeated(wakeup):
    with pytest.raises(ZeroDivisionError):
        repeat_while_unavailable(lambda: 1 / 0, wakeup, give_up=lambda error: False)


@pytest.mark.django_db(transaction=True)
def test_periodic_task_runs_at_once_and_then_when_it_is_due():
    done = []
    task = PeriodicTask(lambda: done.append(1), timedelta(hours=1))
    assert [task.run_if_due() for _ in range(3)] == [True, False, False]
    task = PeriodicTask(lambda: done.append(1), timedelta(0))
    assert [task.run_if_due() for _ in range(3)] == [True, True, True]
    assert len(done) == 4


@pytest.mark.django_db(transaction=True)
def test_periodic_task_waits_and_runs_again_after_the_database_was_unavailable(impatient):
    database = Unavailable(3)
    task = PeriodicTask(database, timedelta(0))
    until = time.monotonic() + 30
    while not task.run_if_due() and time.monotonic() < until:
        time.sleep(0.001)
    assert database.asked == 4


@pytest.mark.django_db(transaction=True)
def test_periodic_task_is_not_repeated_sooner_than_its_interval(impatient):
    database = Unavailable(3)
    task = PeriodicTask(database, timedelta(hours=1))
    assert [task.run_if_due() for _ in range(3)] == [False, False, False]
    assert database.asked == 1


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock of the tasks, which only `clock.now += seconds` moves on."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(availability, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def next_due(task, clock):
    """Seconds, within a hundredth, until the task runs again."""
    since = clock.now
    while not task.run_if_due():
        clock.now += 0.01
    return clock.now - since


@pytest.mark.django_db(transaction=True)
def test_periodic_task_is_repeated_at_random_a_little_before_its_interval_is_over(clock):
    task = PeriodicTask(lambda: None, timedelta(seconds=10))
    assert task.run_if_due()
    intervals = [next_due(task, clock) for _ in range(40)]
    assert min(intervals) > 7.98
    assert max(intervals) < 10.02
    assert max(intervals) - min(intervals) > 0.2


@pytest.mark.django_db(transaction=True)
def test_periodic_task_knows_in_how_many_seconds_it_is_due(clock):
    task = PeriodicTask(lambda: None, timedelta(seconds=10))
    assert task.due_in == 0
    task.run_if_due()
    assert 7.9 < task.due_in <= 10
    clock.now += 11
    assert task.due_in == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("every", "earliest", "latest"), [(0, 0, 0.14), (1, 0.99, 1.02), (3600, 4.99, 5.02)])
def test_periodic_task_that_failed_is_tried_again_after_its_interval_or_five_seconds(
    clock, every, earliest, latest
):
    task = PeriodicTask(Unavailable(1), timedelta(seconds=every))
    assert not task.run_if_due()
    assert earliest <= next_due(task, clock) <= latest


@pytest.mark.django_db(transaction=True)
def test_periodic_task_that_keeps_failing_is_tried_less_and_less_often_until_it_succeeds(clock):
    database = Unavailable(9)
    task = PeriodicTask(database, timedelta(0))
    tries = []
    while database.left:
        before = database.asked
        while database.asked == before:
            task.run_if_due()
            clock.now += 0.01
        tries.append(clock.now)
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert pauses[0] < 0.2
    assert pauses[-1] > 3.7
    next_due(task, clock)
    database.left = 1
    assert not task.run_if_due()
    assert next_due(task, clock) < 0.2


@pytest.mark.django_db(transaction=True)
def test_error_of_another_kind_is_raised_by_a_periodic_task():
    with pytest.raises(ZeroDivisionError):
        PeriodicTask(lambda: 1 / 0, timedelta(0)).run_if_due()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [DataError, IntegrityError])
def test_error_that_says_nothing_about_the_database_is_not_repeated(wakeup, error):
    database = Unavailable(1, error)
    with pytest.raises(error):
        repeat_while_unavailable(database, wakeup, give_up=lambda error: False)
    assert database.asked == 1


@pytest.mark.django_db(transaction=True)
def test_each_try_has_a_new_connection(impatient, wakeup):
    connection.ensure_connection()
    session = connection.connection
    repeat_while_unavailable(Unavailable(1), wakeup, give_up=lambda error: False)
    connection.ensure_connection()
    assert connection.connection is not session
