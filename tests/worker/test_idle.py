"""The sleep of an idle worker, in the process of the tests."""

import threading
import time

import pytest
from django.db import InterfaceError, OperationalError, connection
from django_delayed import enqueue
from django_delayed.models import DelayedJob
from django_delayed.worker.idle import Idle
from django_delayed.worker.shutdown import Shutdown
from tests.blog.jobs import Plain

FOREVER = 10**6  # seconds: if a sleep ends, something has ended it

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def shutdown():
    return Shutdown()


@pytest.fixture
def asked():
    """The answers to the questions of the sleep, whether a row is due."""
    return []


@pytest.fixture
def idle(wakeup, shutdown, asked):
    def ask(statement):
        answer = statement()
        if isinstance(answer, bool):  # otherwise it is the watch
            asked.append(answer)
        return answer

    return Idle(wakeup, shutdown, ask, lambda: DelayedJob.objects.ready().exists())


def enqueue_elsewhere():
    """Enqueue a job over another connection."""

    def write():
        enqueue(Plain(1))
        connection.close()

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()


def test_the_sleep_ends_when_its_time_is_up(idle, asked):
    idle.sleep(0.2)  # a first watch may report what was written before it
    asked.clear()
    began = time.monotonic()
    idle.sleep(0.05)
    assert time.monotonic() - began >= 0.05
    assert asked
    assert not any(asked)


def test_a_sleep_of_zero_seconds_asks_nothing(idle, asked):
    idle.sleep(0)
    assert asked == []


def test_a_row_that_was_written_meanwhile_ends_the_sleep(idle):
    idle.sleep(0.2)
    threading.Timer(0.05, enqueue_elsewhere).start()
    idle.sleep(FOREVER)
    assert DelayedJob.objects.exists()


def test_the_connection_is_tried_only_after_a_sleep_that_something_has_ended(idle, wakeup, monkeypatch):
    idle.sleep(0.2)
    tried = []
    monkeypatch.setattr("django_delayed.worker.idle.close_broken", tried.append)
    idle.sleep(0.05)
    assert tried == []
    threading.Timer(0.05, wakeup.wake).start()
    idle.sleep(FOREVER)
    assert len(tried) == 1


def test_a_wake_ends_the_sleep(idle, wakeup):
    threading.Timer(0.05, wakeup.wake).start()
    idle.sleep(FOREVER)


def test_a_worker_that_is_told_to_stop_does_not_sleep(idle, shutdown, asked):
    shutdown.request()
    idle.sleep(FOREVER)
    assert asked == []


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_statement_that_fails_ends_the_sleep_and_raises_nothing(wakeup, shutdown, error):
    def ask(statement):
        raise error("away")

    Idle(wakeup, shutdown, ask, lambda: False).sleep(FOREVER)


def test_an_error_of_another_kind_is_raised(wakeup, shutdown):
    def ask(statement):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Idle(wakeup, shutdown, ask, lambda: False).sleep(FOREVER)


def test_there_is_one_watch_for_each_session(idle):
    first = idle._current_watch()
    assert idle._current_watch() is first
    connection.close()
    second = idle._current_watch()
    assert second is not first
    assert idle._current_watch() is second
    idle.sleep(0.2)
    threading.Timer(0.05, enqueue_elsewhere).start()
    idle.sleep(FOREVER)
