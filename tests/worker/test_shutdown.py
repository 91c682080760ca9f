"""The signals that stop a worker."""

import signal
import subprocess
import sys
import threading
import time

import pytest
from django_delayed.worker.shutdown import REPEATED_WITHIN, Shutdown

FORK = """
import os, signal, time
from django_delayed.worker.shutdown import Shutdown

with Shutdown() as shutdown:
    if not (pid := os.fork()):
        time.sleep(60)
    os.kill(pid, signal.SIGTERM)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shutdown.requested)
"""


def test_a_process_that_a_job_forks_can_be_ended_by_a_signal():
    # multiprocessing.Pool sends such a signal, and then waits for the process.
    run = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=50)
    assert run.stdout.split() == [str(-signal.SIGTERM), "False"], run.stderr


FORK_AND_QUIET = """
import os, signal, time
from django_delayed.worker.quiet import quiet_by_signal

said = []
with quiet_by_signal(said.append):
    if not (pid := os.fork()):
        time.sleep(60)
    os.kill(pid, signal.SIGUSR2)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said)
    signal.raise_signal(signal.SIGUSR2)
    print(said)
"""


def test_a_process_that_a_job_forks_does_not_make_the_worker_quiet():
    run = subprocess.run([sys.executable, "-c", FORK_AND_QUIET], capture_output=True, text=True, timeout=50)
    assert run.stdout.split() == [str(-signal.SIGUSR2), "[]", "[True]"], run.stderr


FORK_AND_STOP = """
import os, signal
from django_delayed.worker.shutdown import Shutdown

def is_blocked():
    return signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, [])

for _ in range(2):
    with Shutdown() as shutdown:
        if not (pid := os.fork()):
            os._exit(is_blocked())
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), is_blocked())
        os.kill(os.getpid(), signal.SIGTERM)
        print(shutdown.requested)
"""


def test_a_worker_whose_job_has_forked_can_be_stopped():
    run = subprocess.run([sys.executable, "-c", FORK_AND_STOP], capture_output=True, text=True, timeout=50)
    assert run.stdout.split() == ["0", "False", "True"] * 2, run.stderr


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("second", "after", "immediate"),
    [
        (signal.SIGTERM, 0, False),
        (signal.SIGTERM, REPEATED_WITHIN - 0.01, False),
        (signal.SIGTERM, REPEATED_WITHIN, True),
        (signal.SIGINT, 0, True),
        (signal.SIGINT, REPEATED_WITHIN, True),
    ],
)
def test_a_second_signal_stops_at_once_unless_it_repeats_the_first(clock, first, second, after, immediate):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Shutdown() as shutdown:
        signal.raise_signal(first)
        assert (shutdown.requested, shutdown.immediate) == (True, False)
        clock.now += after
        signal.raise_signal(second)
        assert (shutdown.requested, shutdown.immediate) == (True, immediate)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_repeats_are_counted_from_the_first_signal(clock):
    with Shutdown() as shutdown:
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
            assert not shutdown.immediate
            clock.now += REPEATED_WITHIN / 2 - 0.01
        clock.now += 0.03
        signal.raise_signal(signal.SIGTERM)
        assert shutdown.immediate


def test_a_signal_after_a_request_counts_as_the_first_one(clock):
    shutdown = Shutdown()
    shutdown.request()
    with shutdown:
        signal.raise_signal(signal.SIGINT)
        assert not shutdown.immediate


def test_in_a_worker_with_a_supervisor_no_signal_stops_at_once(clock):
    with Shutdown(is_supervised=True) as shutdown:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
            clock.now += REPEATED_WITHIN
        assert (shutdown.requested, shutdown.immediate) == (True, False)


def test_insisting_from_a_thread_interrupts_the_main_thread():
    class Interrupted(BaseException):
        pass

    def interrupt():
        raise Interrupted

    with Shutdown(interrupt) as shutdown:
        shutdown.request()
        threading.Timer(0.05, shutdown.insist).start()
        with pytest.raises(Interrupted):
            time.sleep(60)


def test_insisting_does_nothing_where_no_signals_are_handled():
    shutdown = Shutdown()
    shutdown.request()
    shutdown.insist()
