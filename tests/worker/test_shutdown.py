"""The signals that stop a worker."""

import signal
import subprocess
import sys
import threading
import time

import pytest
from django_delayed.worker.shutdown import Shutdown

FORK = """
import os, signal, time
from django_delayed.worker.shutdown import Shutdown

with Shutdown() as shutdown:
    if not (pid := os.fork()):
        time.sleep(60)
    os.kill(pid, signal.SIGTERM)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shutdown.requested)
"""


def test_what_a_job_forks_can_be_ended_by_a_signal():
    # As multiprocessing.Pool does, and then waits for it.
    run = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=50)
    assert run.stdout.split() == [str(-signal.SIGTERM), "False"], run.stderr


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


def test_the_second_signal_means_at_once_whichever_it_is():
    before = signal.getsignal(signal.SIGINT)
    with Shutdown() as shutdown:
        signal.raise_signal(signal.SIGINT)
        assert (shutdown.requested, shutdown.immediate) == (True, False)
        signal.raise_signal(signal.SIGTERM)
        assert shutdown.immediate
    assert signal.getsignal(signal.SIGINT) is before


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


def test_where_no_signals_are_listened_to_insisting_harms_nobody():
    shutdown = Shutdown()
    shutdown.request()
    shutdown.insist()
