"""The thread that runs the SQL of a supervisor."""

from datetime import timedelta
from functools import partial

import pytest
from django.db import OperationalError, connection, connections
from django_delayed import enqueue
from django_delayed.models import DelayedJob
from django_delayed.supervisor.database_thread import DatabaseThread
from django_delayed.worker import availability
from django_delayed.worker.availability import PeriodicTask
from tests.blog.jobs import Plain
from tests.playground.processes import PATIENCE, until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def thread():
    thread = DatabaseThread([])
    yield thread
    thread.end(PATIENCE)
    assert not thread.is_alive()


@pytest.fixture
def soon(monkeypatch):
    """Have failed requests tried again at once."""
    monkeypatch.setattr(availability, "backoff", lambda: iter([0.001] * 1000))


def task(function):
    return PeriodicTask(function, timedelta(milliseconds=1))


class Rounds(PeriodicTask):
    """A task that is not due for a long time, and counts how often the thread checks it."""

    def __init__(self):
        super().__init__(lambda: None, timedelta(seconds=10 * PATIENCE))
        self.count = 0

    def run_if_due(self):
        self.count += 1
        return super().run_if_due()


def test_a_request_wakes_the_thread_and_so_does_the_end(thread):
    thread.add([Rounds()])
    thread.start()
    for _ in range(3):
        assert thread.request(lambda: None).wait(PATIENCE)
    thread.end(PATIENCE)
    assert not thread.is_alive()


def test_between_two_requests_the_thread_sleeps(thread):
    rounds = Rounds()
    thread.add([rounds])
    thread.start()
    # The start, the new task and each request make one round each.
    for _ in range(3):
        assert thread.request(lambda: None).wait(PATIENCE)
    assert rounds.count <= 5


def test_a_task_that_is_added_wakes_the_thread(thread):
    thread.start()
    done = []
    thread.add([task(partial(done.append, 1))])
    until(lambda: done)


def test_requests_run_in_their_order_and_each_until_it_has_succeeded_once(thread, soon):
    asked = []

    def fail_twice():
        asked.append("first")
        if len(asked) < 3:
            raise OperationalError("away")

    first = thread.request(fail_twice)
    second = thread.request(partial(asked.append, "second"))
    assert not first.is_set()
    thread.start()
    assert second.wait(PATIENCE)
    assert first.is_set()
    assert asked == ["first", "first", "first", "second"]


def test_tasks_go_on_while_a_request_fails(thread, soon):
    rounds = []

    def fail():
        raise OperationalError("away")

    request = thread.request(fail)
    thread.add([task(partial(rounds.append, 1))])
    thread.start()
    until(lambda: len(rounds) > 2)
    assert not request.is_set()


def test_a_task_that_is_removed_runs_no_more_and_the_others_do(thread):
    removed, others = [], []
    gone = task(partial(removed.append, 1))
    thread.add([gone])
    thread.add([task(partial(others.append, 1))])
    thread.start()
    until(lambda: removed and others)
    thread.remove([gone])
    # The request is run after the present round.
    assert thread.request(lambda: None).wait(PATIENCE)
    count, other_count = len(removed), len(others)
    until(lambda: len(others) > other_count + 2)
    assert len(removed) <= count + 1


def test_what_was_requested_is_done_before_the_end():
    done = []
    thread = DatabaseThread([])
    thread.start()
    thread.request(partial(done.append, 1))
    thread.request(partial(done.append, 2))
    thread.end(PATIENCE)
    assert done == [1, 2]


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, KeyboardInterrupt])
def test_an_error_of_another_kind_ends_the_thread_and_is_kept(error):
    def fail():
        raise error("broken")

    thread = DatabaseThread([])
    assert thread.error is None
    thread.request(fail)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert isinstance(thread.error, error)


def test_its_connections_are_closed_at_its_end(thread):
    seen = []

    def ask():
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        seen.append(connections[connection.alias])

    asked = thread.request(ask)
    thread.start()
    assert asked.wait(PATIENCE)
    thread.end(PATIENCE)
    assert [one.connection for one in seen] == [None]


def test_a_thread_that_hangs_does_not_hold_up_the_end_of_the_process():
    assert DatabaseThread([]).daemon


def test_a_function_that_it_runs_enqueues_nothing(thread):
    enqueued = []
    done = thread.request(lambda: enqueued.append(enqueue(Plain(1))))
    thread.start()
    assert done.wait(PATIENCE)
    assert enqueued == [None]
    assert not DelayedJob.objects.exists()
