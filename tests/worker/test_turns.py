"""The threads of a worker take turns at claiming."""

import threading

import pytest
from django_delayed.worker import turns as module
from django_delayed.worker.turns import Turns
from tests.playground.waiting import until


@pytest.fixture
def turns(monkeypatch):
    monkeypatch.setattr(module, "LOOK_EVERY", 0.01)
    return Turns()


class Thread(threading.Thread):
    """Takes its turn, passes it on when it is told to, and comes back."""

    def __init__(self, turns):
        super().__init__(daemon=True)
        self.turns = turns
        self.has_turn = False
        self.passes_on, self.comes_back = threading.Event(), threading.Event()
        self.start()

    def run(self):
        self.turns.take()
        self.has_turn = True
        self.passes_on.wait()
        self.turns.pass_on()
        self.comes_back.wait()
        self.turns.come_back()


class Lonely(threading.Thread):
    """Takes its turn, and keeps it until it is alone and told to come back."""

    def __init__(self, turns):
        super().__init__(daemon=True)
        self.turns = turns
        self.has_turn = self.stops = self.is_alone = self.gave_up = False
        self.comes_back = threading.Event()
        self.start()

    def run(self):
        self.turns.take()
        self.has_turn = True
        self.is_alone = self.turns.wait_until_alone(lambda: self.stops)
        self.gave_up = not self.is_alone
        self.comes_back.wait()
        self.turns.come_back()


@pytest.mark.parametrize("given", [(), (-1,), (0.5,)])
def test_a_turn_is_waited_for_without_a_limit_unless_one_is_given(turns, given):
    asked = []

    class Lock:
        def acquire(self, timeout):
            asked.append(timeout)
            return True

    turns._turn = Lock()
    assert turns.take(*given)
    assert asked == [given[0] if given else -1]


def performing(turns):
    """Start a thread that has passed its turn on and performs."""
    thread = Thread(turns)
    until(lambda: thread.has_turn)
    thread.passes_on.set()
    until(lambda: not turns.no_other_performs)
    return thread


def end(thread):
    thread.comes_back.set()
    thread.join(60)
    assert not thread.is_alive()


def test_one_thread_after_another_has_the_turn(turns):
    first = performing(turns)
    second = Thread(turns)
    until(lambda: second.has_turn)
    assert turns.take(timeout=0.01) is False
    second.passes_on.set()
    assert turns.take(timeout=60) is True
    assert not turns.no_other_performs
    end(first)
    assert not turns.no_other_performs
    end(second)
    assert turns.no_other_performs
    turns.come_back()
    assert turns.take(timeout=0) is True


def test_a_thread_that_has_not_passed_its_turn_on_ends_it_when_it_comes_back(turns):
    for _ in range(3):
        assert turns.take(timeout=0) is True
        assert turns.is_mine
        assert turns.no_other_performs
        turns.come_back()
        assert not turns.is_mine


def test_a_thread_is_alone_when_all_others_have_come_back_and_until_its_turn_is_over(turns):
    others = [performing(turns), performing(turns)]
    thread = Lonely(turns)
    until(lambda: thread.has_turn)
    end(others[0])
    assert not thread.is_alone
    end(others[1])
    until(lambda: thread.is_alone)
    assert turns.take(timeout=0.01) is False
    end(thread)
    assert turns.take(timeout=60) is True


def test_a_thread_need_not_wait_when_no_other_performs(turns):
    turns.take()
    assert turns.wait_until_alone(lambda: True) is True


def test_a_thread_that_is_to_stop_does_not_wait_until_it_is_alone(turns):
    other = performing(turns)
    thread = Lonely(turns)
    until(lambda: thread.has_turn)
    assert not thread.gave_up
    thread.stops = True
    until(lambda: thread.gave_up)
    end(other)
    end(thread)
