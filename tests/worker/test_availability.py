"""Statements and periodic tasks while the database is unavailable."""

import time
from datetime import timedelta

import pytest
from django.db import InternalError, OperationalError
from django_delayed.worker import availability
from django_delayed.worker.availability import LONGEST_PAUSE, PeriodicTask, backoff, repeat_while_unavailable
from django_delayed.worker.wakeup import Wakeup


@pytest.fixture
def wakeup():
    wakeup = Wakeup()
    yield wakeup
    wakeup.close()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(availability, "backoff", lambda: iter([0.001] * 100))


def test_pauses_double_up_to_five_seconds():
    waits = backoff()
    found = [next(waits) for _ in range(12)]
    for number, pause in enumerate(found):
        middle = min(0.1 * 2**number, LONGEST_PAUSE)
        assert 0.75 * middle <= pause <= 1.25 * middle
    # A minute of it takes no more than thirty tries to connect.
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
