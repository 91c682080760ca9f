"""The small parts of a worker, one by one."""

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest
from django.db import InternalError, OperationalError
from django_delayed.worker import chores, patience
from django_delayed.worker.activity import Activity
from django_delayed.worker.chores import Chore
from django_delayed.worker.pace import Pace
from django_delayed.worker.patience import LONGEST_PAUSE, patiently, pauses
from django_delayed.worker.reload import CodeWatch, SourceWatch
from django_delayed.worker.shutdown import Shutdown
from django_delayed.worker.wakeup import Wakeup

SECOND = timedelta(seconds=1)


# Pace


def test_the_first_batch_is_one_job_and_quick_ones_double_it():
    pace = Pace(100)
    sizes = []
    for _ in range(9):
        sizes.append(pace.size)
        pace.keep(pace.size, seconds=pace.size * 1e-5)
    assert sizes == [1, 2, 4, 8, 16, 32, 64, 100, 100]


def test_a_batch_is_worth_twenty_milliseconds():
    pace = Pace(100)
    for _ in range(9):
        pace.keep(pace.size, seconds=pace.size * 0.002)
    assert pace.size == 10


def test_a_long_job_is_claimed_alone_from_then_on():
    pace = Pace(100)
    for _ in range(9):
        pace.keep(pace.size, seconds=0)
    assert pace.size == 100
    pace.keep(1, seconds=1)
    assert pace.size == 1


def test_no_batch_is_larger_than_the_read_ahead():
    pace = Pace(1)
    pace.keep(1, seconds=0)
    assert pace.size == 1


# Activity


@pytest.fixture
def activity():
    activity = Activity()
    yield activity
    activity.close()


def test_no_job_is_in_hand_before_the_first_and_after_the_last(activity):
    assert activity.current() is None
    activity.begin(7, SECOND)
    assert activity.current().id == 7
    activity.end()
    assert activity.current() is None


def test_a_job_has_an_age_and_a_limit_until_it_is_being_settled(activity):
    activity.begin(7, SECOND)
    assert activity.current().limit == SECOND
    activity.limit_to(2 * SECOND)
    assert activity.current().limit == 2 * SECOND
    assert timedelta(0) <= activity.current().age <= timedelta(seconds=60)
    activity.settle()
    assert activity.current().limit is None


def test_another_process_sees_the_same_page(activity):
    code = (
        "import sys; from datetime import timedelta; from django_delayed.worker.activity import Activity;"
        "activity = Activity(int(sys.argv[1])); activity.begin(9, timedelta(seconds=3)); activity.be_ready()"
    )
    assert not activity.is_ready
    subprocess.run([sys.executable, "-c", code, str(activity.fd)], pass_fds=[activity.fd], check=True)
    assert activity.current().id == 9
    assert activity.is_ready


def test_no_reader_ever_sees_half_of_a_job(activity):
    # The writer is a process of its own, as in life: the limit of each job is its id.
    code = (
        "import sys; from datetime import timedelta; from django_delayed.worker.activity import Activity\n"
        "activity = Activity(int(sys.argv[1]))\n"
        "while True:\n"
        "    for id in (1, 2**40 + 7):\n"
        "        activity.begin(id, timedelta(microseconds=id)); activity.end()\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(activity.fd)], pass_fds=[activity.fd])
    try:
        seen, ids, until = set(), set(), time.monotonic() + 60
        while (len(seen) < 200 or len(ids) < 2) and time.monotonic() < until:
            if current := activity.current():
                assert current.limit == timedelta(microseconds=current.id)
                assert current.age < timedelta(seconds=60)
                seen.add((current.id, current.age))
                ids.add(current.id)
    finally:
        writer.kill()
        writer.wait()
    assert ids == {1, 2**40 + 7}


def test_a_worker_for_whom_nobody_ever_beats_is_not_silent(activity):
    assert not activity.is_silent(timedelta(0))
    activity.beat(time.time() - 10)
    assert activity.is_silent(timedelta(seconds=9))
    assert not activity.is_silent(timedelta(seconds=60))


# Wakeup


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


# Shutdown

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


def test_the_second_signal_means_at_once_whichever_it_is():
    before = signal.getsignal(signal.SIGINT)
    with Shutdown() as shutdown:
        signal.raise_signal(signal.SIGINT)
        assert (shutdown.requested, shutdown.at_once) == (True, False)
        signal.raise_signal(signal.SIGTERM)
        assert shutdown.at_once
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


# Patience and chores


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(patience, "pauses", lambda: iter([0.001] * 100))
    monkeypatch.setattr(chores, "pauses", lambda: iter([0.001] * 100))


def test_the_pauses_double_up_to_five_seconds():
    waits = pauses()
    found = [next(waits) for _ in range(12)]
    for number, pause in enumerate(found):
        middle = min(0.1 * 2**number, LONGEST_PAUSE)
        assert 0.75 * middle <= pause <= 1.25 * middle
    # A minute of it takes no more than thirty tries to connect.
    assert sum(found) > 25


class Away:
    """A database that is away for so many questions."""

    def __init__(self, times, error=OperationalError):
        self.left, self.error, self.asked = times, error, 0

    def __call__(self):
        self.asked += 1
        if self.left:
            self.left -= 1
            raise self.error("away")
        return "here"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [OperationalError, InternalError])
def test_an_operation_is_tried_until_the_database_is_back(impatient, wakeup, error):
    assert patiently(Away(20, error), wakeup, give_up=lambda: False) == "here"


@pytest.mark.django_db(transaction=True)
def test_who_may_give_up_tries_once_at_least(impatient, wakeup):
    assert patiently(Away(0), wakeup, give_up=lambda: True) == "here"
    with pytest.raises(OperationalError):
        patiently(Away(1), wakeup, give_up=lambda: True)


@pytest.mark.django_db
def test_in_a_callers_transaction_there_is_no_second_try(wakeup):
    away = Away(1)
    with pytest.raises(OperationalError):
        patiently(away, wakeup, give_up=lambda: False)
    assert away.asked == 1


@pytest.mark.django_db(transaction=True)
def test_another_error_is_not_taken_for_an_absence(wakeup):
    with pytest.raises(ZeroDivisionError):
        patiently(lambda: 1 / 0, wakeup, give_up=lambda: False)


@pytest.mark.django_db(transaction=True)
def test_a_chore_is_done_at_first_and_then_when_it_is_due():
    done = []
    chore = Chore(lambda: done.append(1), timedelta(hours=1))
    assert [chore.run_when_due() for _ in range(3)] == [True, False, False]
    chore = Chore(lambda: done.append(1), timedelta(0))
    assert [chore.run_when_due() for _ in range(3)] == [True, True, True]
    assert len(done) == 4


@pytest.mark.django_db(transaction=True)
def test_a_chore_that_meets_an_absence_waits_and_is_tried_again(impatient):
    away = Away(3)
    chore = Chore(away, timedelta(0))
    until = time.monotonic() + 30
    while not chore.run_when_due() and time.monotonic() < until:
        time.sleep(0.001)
    assert away.asked == 4


@pytest.mark.django_db(transaction=True)
def test_a_chore_that_meets_an_absence_comes_no_sooner_than_it_would_have(impatient):
    away = Away(3)
    chore = Chore(away, timedelta(hours=1))
    assert [chore.run_when_due() for _ in range(3)] == [False, False, False]
    assert away.asked == 1


# Reload


def test_a_file_saved_since_the_start_is_news_and_one_of_the_future_is_not_yet(tmp_path, monkeypatch):
    module = tmp_path / "just_loaded.py"
    module.write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("just_loaded")
    start = time.time() + 10
    watch = CodeWatch(since=start)
    assert not watch.has_changed()
    os.utime(module, (start + 3600, start + 3600))
    assert not watch.has_changed()
    watch.since = start - 20
    os.utime(module, (start - 15, start - 15))
    assert watch.has_changed()
    watch.since = start
    module.unlink()
    assert watch.has_changed()
    sys.modules.pop("just_loaded")


def test_a_watch_over_sources_sees_what_nobody_could_load(tmp_path, monkeypatch):
    (tmp_path / "neighbour.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("neighbour")
    watch = SourceWatch()
    watch._looked -= 10
    assert not watch.has_changed()
    (tmp_path / "broken.py").write_text("class (")
    assert not watch.has_changed()  # it has just looked
    watch._looked -= 10
    assert watch.has_changed()
    sys.modules.pop("neighbour")
