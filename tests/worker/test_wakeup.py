"""The sleep that anything ends."""

import os
import signal
import threading

import pytest
from django_delayed.worker.shutdown import Shutdown
from django_delayed.worker.wakeup import Wakeup


@pytest.fixture
def wakeup():
    wakeup = Wakeup()
    yield wakeup
    wakeup.close()


FOREVER = 10**12  # seconds: a wait that ends has been woken


def test_a_signal_that_arrives_just_before_the_sleep_is_not_slept_through(wakeup):
    with Shutdown() as shutdown:
        os.kill(os.getpid(), signal.SIGTERM)
        assert shutdown.requested
        wakeup.wait(FOREVER)


def test_a_wake_before_the_sleep_is_not_lost_and_good_for_one(wakeup):
    wakeup.wake()
    wakeup.wake()
    wakeup.wait(FOREVER)
    threading.Timer(0.01, wakeup.wake).start()
    wakeup.wait(FOREVER)


def test_it_can_be_woken_however_often(wakeup):
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
    made[0].wake()  # by somebody who does not know yet
    assert signal.set_wakeup_fd(-1) == before
