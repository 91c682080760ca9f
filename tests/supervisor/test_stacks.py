"""SIGQUIT in a supervisor."""

import faulthandler
import signal
import threading

import pytest
from django_delayed.supervisor.stacks import stacks_dumped_on_quit
from tests.playground.processes import PATIENCE


@pytest.fixture
def dumped(monkeypatch):
    """Replaces the dump of the stacks, because stderr is not a file here."""
    dumped = []
    monkeypatch.setattr(faulthandler, "dump_traceback", lambda: dumped.append(1))
    return dumped


def test_sigquit_dumps_the_stacks_and_lets_the_workers_do_so(dumped):
    before, also = signal.getsignal(signal.SIGQUIT), []
    with stacks_dumped_on_quit(lambda: also.append(1)):
        for _ in range(2):
            signal.raise_signal(signal.SIGQUIT)
    assert (dumped, also) == ([1, 1], [1, 1])
    assert signal.getsignal(signal.SIGQUIT) is before


@pytest.mark.parametrize("error", [ValueError, RuntimeError, OSError])
def test_without_a_stderr_the_workers_dump_theirs(monkeypatch, error):
    def fail():
        raise error("stderr is closed")

    monkeypatch.setattr(faulthandler, "dump_traceback", fail)
    also = []
    with stacks_dumped_on_quit(lambda: also.append(1)):
        signal.raise_signal(signal.SIGQUIT)
    assert also == [1]


def test_the_handler_is_restored_after_an_error(dumped):
    before = signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    try:
        with pytest.raises(ZeroDivisionError), stacks_dumped_on_quit(lambda: None):
            raise ZeroDivisionError
        assert signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGQUIT, before)


def test_in_a_thread_which_hears_no_signals_the_block_is_run():
    before, run = signal.getsignal(signal.SIGQUIT), []

    def enter():
        with stacks_dumped_on_quit(lambda: None):
            run.append(signal.getsignal(signal.SIGQUIT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join(PATIENCE)
    assert run == [before]
