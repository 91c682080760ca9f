"""SIGHUP in a supervisor."""

import os
import signal
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from django_delayed.supervisor import hangup
from django_delayed.supervisor.hangup import Replacement, workers_replaced_on_hangup


@pytest.fixture
def begun(monkeypatch):
    """The replacements that have begun; SIGHUP is ignored outside of the block."""
    begun = []
    monkeypatch.setattr(Replacement, "begin", lambda self: begun.append(self))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield begun
    signal.signal(signal.SIGHUP, before)


def hang_up():
    with workers_replaced_on_hangup(Replacement([])):
        os.kill(os.getpid(), signal.SIGHUP)


def test_hangups_that_were_ignored_stay_ignored(begun, monkeypatch):
    monkeypatch.setattr(hangup, "_has_terminal", lambda: False)
    hang_up()
    assert begun == []


@pytest.mark.parametrize("has_terminal", [True, False])
def test_a_hangup_replaces_the_workers_unless_a_terminal_was_closed(begun, monkeypatch, has_terminal):
    ended = []
    signal.signal(signal.SIGHUP, lambda *_: ended.append(True))
    monkeypatch.setattr(hangup, "_has_terminal", lambda: has_terminal)
    hang_up()
    assert (len(begun), len(ended)) == ((0, 1) if has_terminal else (1, 0))
    os.kill(os.getpid(), signal.SIGHUP)
    assert (len(begun), len(ended)) == ((0, 2) if has_terminal else (1, 1))


def test_the_next_worker_is_replaced_when_the_successor_of_the_first_is_up():
    managers = [SimpleNamespace(is_up=True, has_ended=False, replace=Mock()) for _ in range(2)]
    first, second = managers
    replacement = Replacement(managers)
    replacement.begin()
    replacement.tick()
    first.is_up = False
    replacement.tick()
    assert (first.replace.call_count, second.replace.call_count) == (1, 0)
    first.is_up = True
    replacement.tick()
    replacement.tick()
    assert (first.replace.call_count, second.replace.call_count) == (1, 1)


def test_a_worker_that_has_ended_for_good_holds_up_no_other():
    managers = [SimpleNamespace(is_up=False, has_ended=True, replace=Mock()) for _ in range(2)]
    replacement = Replacement(managers)
    replacement.begin()
    replacement.tick()
    replacement.tick()
    assert [manager.replace.call_count for manager in managers] == [1, 1]
