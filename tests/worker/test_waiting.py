"""How long a worker waits when it could claim nothing."""

from datetime import timedelta
from itertools import pairwise

import pytest
from django_delayed.worker import waiting as module
from django_delayed.worker.activity import Activity
from django_delayed.worker.configuration import Configuration
from django_delayed.worker.shutdown import Shutdown
from django_delayed.worker.statements import Statements
from django_delayed.worker.turns import Turns
from django_delayed.worker.waiting import SHORTEST_SLEEP, Waiting

pytestmark = pytest.mark.django_db(transaction=True)
MINUTE = 60.0


@pytest.fixture
def waits(wakeup, monkeypatch):
    """Wait while the next row is due in so many seconds; gives the seconds that the worker would sleep."""
    slept = []
    activity, shutdown = Activity(), Shutdown()
    statements = Statements(activity.slots[0], wakeup, shutdown)
    configuration = Configuration(sleep_delay=timedelta(minutes=1))
    waiting = Waiting(configuration, statements, wakeup, shutdown, activity, Turns(), lambda: None)
    monkeypatch.setattr(waiting._idle, "sleep", lambda seconds, is_one_due: slept.append(seconds))

    def wait(due_in):
        monkeypatch.setattr(module, "all_rows", lambda: Due(due_in))
        waiting.wait()
        return slept.pop()

    wait.claimed = waiting.has_claimed
    yield wait
    activity.close()


class Due:
    """Rows, the first of which is due in so many seconds."""

    def __init__(self, due_in):
        self._due_in = due_in

    def next_due(self, filters, recent):
        return self._due_in


def test_it_sleeps_until_the_next_row_is_due_and_at_most_its_sleep_delay(waits):
    assert waits(7.0) == 7.0
    assert waits(3600.0) == MINUTE
    assert waits(None) == MINUTE
    assert waits(0.001) == SHORTEST_SLEEP


def test_it_sleeps_longer_each_time_while_a_due_row_cannot_be_claimed(waits):
    pauses = [waits(-1.0) for _ in range(20)]
    assert pauses[0] == 2 * SHORTEST_SLEEP
    assert all(later == min(2 * pause, MINUTE) for pause, later in pairwise(pauses))
    assert pauses[-1] == MINUTE


@pytest.mark.parametrize("what", ["a claim", "a row that is not due"])
def test_after_a_claim_or_a_row_that_is_not_due_it_begins_with_short_sleeps_again(waits, what):
    for _ in range(9):
        waits(-1.0)
    if what == "a claim":
        waits.claimed()
    else:
        assert waits(5.0) == 5.0
    assert waits(-1.0) == 2 * SHORTEST_SLEEP


def test_rows_that_are_not_due_yet_do_not_make_it_sleep_longer_each_time(waits):
    assert [waits(0.02) for _ in range(5)] == [0.02] * 5
