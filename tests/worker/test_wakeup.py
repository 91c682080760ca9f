"""A sleep that any process, thread or signal can end."""

import os
import select
import signal
import threading

import pytest
from django_delayed.worker.shutdown import Shutdown
from django_delayed.worker.wakeup import LONGEST, Wakeup, wake

FOREVER = 10**12  # seconds: if a wait ends, something has woken it


def test_a_signal_that_arrives_just_before_the_sleep_is_not_slept_through(wakeup):
    with Shutdown() as shutdown:
        os.kill(os.getpid(), signal.SIGTERM)
        assert shutdown.requested
        wakeup.wait(FOREVER)


def test_a_wake_before_the_sleep_ends_that_sleep_and_no_other(wakeup):
    wakeup.wake()
    wakeup.wake()
    wakeup.wait(FOREVER)
    threading.Timer(0.01, wakeup.wake).start()
    wakeup.wait(FOREVER)


def test_another_process_wakes_it_by_its_file_descriptor(wakeup):
    if not (pid := os.fork()):
        wake(wakeup.fd)
        os._exit(0)
    wakeup.wait(FOREVER)
    os.waitpid(pid, 0)


@pytest.mark.parametrize(("seconds", "asked"), [(-5, 0), (0, 0), (0.5, 0.5), (FOREVER, LONGEST)])
def test_a_sleep_lasts_as_long_as_it_is_told_if_the_system_can(wakeup, monkeypatch, seconds, asked):
    timeouts = []
    monkeypatch.setattr(select, "select", lambda *args: timeouts.append(args[-1]) or ([], [], []))
    assert not wakeup.wait(seconds)
    assert timeouts == [asked]


def test_waking_one_that_is_closed_is_no_error():
    closed = Wakeup()
    fd = os.dup(closed.fd)
    closed.close()
    wake(fd)
    os.close(fd)
    wake(fd)


def test_it_can_be_woken_any_number_of_times(wakeup):
    for _ in range(100_000):
        wakeup.wake()
    wakeup.wait(FOREVER)


def test_a_wakeup_in_a_thread_leaves_the_signals_alone():
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    made = []
    thread = threading.Thread(target=lambda: made.append(Wakeup()))
    thread.start()
    thread.join()
    made[0].wake()
    made[0].wait(FOREVER)
    made[0].close()
    made[0].wake()  # as by a thread that does not know yet that it is closed
    assert signal.set_wakeup_fd(-1) == before


def test_it_says_whether_it_was_woken(wakeup):
    assert wakeup.wait(0) is False
    assert wakeup.wait(-1) is False
    wakeup.wake()
    assert wakeup.wait(0) is True
    assert wakeup.wait(0) is False


def test_a_file_that_can_be_read_ends_the_sleep_and_does_not_count_as_a_wake(wakeup):
    reader, writer = os.pipe()
    try:
        assert wakeup.wait(0, reader) is False
        os.write(writer, b"x")
        assert wakeup.wait(FOREVER, reader) is False
        wakeup.wake()
        assert wakeup.wait(FOREVER, reader) is True
        assert os.read(reader, 9) == b"x"
    finally:
        os.close(reader)
        os.close(writer)


def test_the_handling_of_signals_is_put_back_at_its_end():
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    outer = Wakeup()
    inner = Wakeup()
    inner.close()
    with Shutdown():
        os.kill(os.getpid(), signal.SIGTERM)
        outer.wait(FOREVER)
    outer.close()
    assert signal.set_wakeup_fd(-1) == before


def test_the_end_of_a_pipe_ends_one_sleep_and_is_announced_once(wakeup):
    reader, writer = os.pipe()
    ended = []
    wakeup.on_end_of(reader, lambda: ended.append(reader))
    try:
        assert wakeup.wait(0) is False
        assert ended == []
        os.close(writer)
        assert wakeup.wait(FOREVER) is False
        assert ended == [reader]
        wakeup.wait(0.01)
        assert ended == [reader]
    finally:
        os.close(reader)
