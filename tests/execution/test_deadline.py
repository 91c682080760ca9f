"""Real alarms: the first after a few hundredths of a second, and the next one a second later."""

import asyncio
import contextlib
import gc
import os
import signal
import threading
import time
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django_delayed import JobTimeout
from django_delayed.exceptions import JobInterrupted
from django_delayed.execution.deadline import is_undisturbed, run_within, undisturbed
from django_delayed.jobs.event_loop import awaited

SHORT = timedelta(milliseconds=50)
LONG = timedelta(minutes=1)


def sleep():
    time.sleep(30)


@pytest.fixture(autouse=True)
def everything_is_put_back():
    handler = signal.getsignal(signal.SIGALRM)
    yield
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is handler


def test_what_ends_in_time_is_left_alone():
    assert run_within(LONG, "a job", lambda: 5) == 5
    assert run_within(timedelta.max, "a job", lambda: 6) == 6


def test_what_runs_too_long_is_stopped_and_told_its_limit():
    with pytest.raises(JobTimeout, match=r"^Report ran longer than its max_run_time of 0\.05 s\.$"):
        run_within(SHORT, "Report", sleep)


def test_a_limit_of_a_microsecond_or_of_zero_is_kept():
    with pytest.raises(JobTimeout):
        run_within(timedelta(microseconds=1), "a job", sleep)
    with pytest.raises(JobTimeout):
        run_within(timedelta(0), "a job", sleep)


def test_except_exception_does_not_catch_a_timeout():
    def careful():
        try:
            sleep()
        except Exception:
            return "caught"

    with pytest.raises(JobTimeout):
        run_within(SHORT, "a job", careful)


def test_a_timeout_that_is_swallowed_is_recorded():
    def swallow():
        with contextlib.suppress(BaseException):
            sleep()
        return "done"

    with pytest.raises(JobTimeout, match="and swallowed the JobTimeout"):
        run_within(SHORT, "a job", swallow)


def test_an_error_that_a_timeout_was_turned_into_is_its_cause():
    def translate():
        try:
            sleep()
        except BaseException:
            raise ValueError("other") from None

    with pytest.raises(JobTimeout, match="turned the JobTimeout into another error") as caught:
        run_within(SHORT, "a job", translate)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_loop_that_swallows_the_timeout_is_struck_again():
    struck = []

    def stubborn():
        while len(struck) < 2:
            try:
                sleep()
            except BaseException as error:
                struck.append(type(error))
        return "done"

    with pytest.raises(JobTimeout, match="swallowed"):
        run_within(SHORT, "a job", stubborn)
    assert struck == [JobTimeout, JobTimeout]


class Slow:
    """Python writes an error in a __del__ to stderr, and goes on."""

    def __del__(self):
        time.sleep(0.2)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_timeout_that_strikes_in_a_del_strikes_again():
    def forget():
        Slow()
        sleep()

    with pytest.raises(JobTimeout):
        run_within(SHORT, "a job", forget)


def test_an_error_of_its_own_passes():
    for error in (ValueError, SystemExit, KeyboardInterrupt, JobInterrupted):
        with pytest.raises(error):
            run_within(LONG, "a job", lambda error=error: (_ for _ in ()).throw(error))


def test_an_interruption_after_the_timeout_stays_an_interruption():
    def interrupted():
        try:
            sleep()
        except JobTimeout:
            raise JobInterrupted from None

    with pytest.raises(JobInterrupted):
        run_within(SHORT, "a job", interrupted)


def test_the_outer_of_two_deadlines_holds_within_the_inner():
    with pytest.raises(JobTimeout, match=r"^outer ran longer"):
        run_within(SHORT, "outer", lambda: run_within(LONG, "inner", sleep))


def test_the_outer_of_two_deadlines_holds_after_the_inner():
    def outer():
        run_within(LONG, "inner", lambda: None)
        sleep()

    with pytest.raises(JobTimeout, match=r"^outer ran longer"):
        run_within(timedelta(milliseconds=100), "outer", outer)


def test_the_inner_of_two_deadlines_strikes_alone():
    def outer():
        with pytest.raises(JobTimeout, match=r"^inner ran longer"):
            run_within(SHORT, "inner", sleep)
        return "done"

    assert run_within(LONG, "outer", outer) == "done"


def test_an_alarm_that_somebody_else_sends_triggers_neither_the_deadline_nor_the_alarm_of_the_caller():
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(True))
    signal.setitimer(signal.ITIMER_REAL, 3600)
    try:
        run_within(LONG, "a job", lambda: os.kill(os.getpid(), signal.SIGALRM))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert rung == []


def test_a_handler_of_the_job_is_taken_away_again():
    def install():
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 100)

    run_within(LONG, "a job", install)


def test_a_function_that_switches_the_alarm_off_has_run_too_long_when_it_ends(monkeypatch):
    monkeypatch.setattr("django_delayed.execution.deadline.REPEAT_AFTER", 0.01)

    def switch_off():
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        time.sleep(SHORT.total_seconds() + 0.05)

    with pytest.raises(JobTimeout, match="had switched off the alarm"):
        run_within(SHORT, "a job", switch_off)


@pytest.fixture
def rings():
    """The moments at which the caller's own alarm of this test rings."""
    heard = []
    before = signal.signal(signal.SIGALRM, lambda *_: heard.append(time.monotonic()))
    yield heard
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def until_it(rings, count=1):
    while len(rings) < count:
        time.sleep(0.005)


def test_an_alarm_of_the_caller_that_is_due_later_is_left(rings):
    signal.setitimer(signal.ITIMER_REAL, 60, 7)
    run_within(LONG, "a job", lambda: run_within(timedelta(seconds=5), "an inner job", lambda: None))
    left, interval = signal.getitimer(signal.ITIMER_REAL)
    assert 30 < left < 60
    assert interval == 7
    assert rings == []


def test_an_alarm_of_the_caller_rings_while_the_job_runs(rings):
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    run_within(LONG, "a job", lambda: until_it(rings))
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert len(rings) == 1


def test_an_alarm_of_the_caller_that_repeats_goes_on(rings):
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    run_within(LONG, "a job", lambda: until_it(rings, 3))
    until_it(rings, 5)


def test_a_job_is_stopped_beside_an_alarm_of_the_caller(rings):
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    with pytest.raises(JobTimeout):
        run_within(timedelta(milliseconds=100), "a job", sleep)
    assert len(rings) == 1
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    with pytest.raises(JobTimeout):
        run_within(SHORT, "a job", sleep)
    until_it(rings, 2)


def test_an_alarm_of_the_caller_may_raise(rings):
    def give_up(*_):
        raise LookupError("the test takes too long")

    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    with pytest.raises(LookupError, match="takes too long"):
        run_within(LONG, "a job", sleep)
    assert signal.getsignal(signal.SIGALRM) is give_up


def test_nothing_strikes_after_the_block():
    for _ in range(300):
        with contextlib.suppress(JobTimeout):
            run_within(timedelta(microseconds=200), "a job", lambda: sum(range(2000)))
    time.sleep(0.01)


@pytest.mark.parametrize("beside", [False, True])
def test_an_undisturbed_block_is_not_stopped_but_what_follows_is(beside):
    """Beside one that ends in another thread, too."""
    reached = []

    def end_another():
        with undisturbed():
            reached.append(is_undisturbed())

    def job():
        with undisturbed():
            if beside:
                thread = threading.Thread(target=end_another)
                thread.start()
                thread.join()
            assert is_undisturbed()
            due = time.monotonic() + 2 * SHORT.total_seconds()
            while time.monotonic() < due:
                pass
            reached.append("the end")
        assert not is_undisturbed()
        sleep()

    with pytest.raises(JobTimeout):
        run_within(SHORT, "a job", job)
    assert reached == [True] * beside + ["the end"]


def test_in_a_thread_the_function_runs_as_long_as_it_likes():
    result = []
    function = lambda: time.sleep(0.2) or "done"  # noqa: E731
    thread = threading.Thread(target=lambda: result.append(run_within(SHORT, "a job", function)))
    thread.start()
    thread.join()
    assert result == ["done"]


# Coroutines


class Coroutine:
    """Sleeps in a loop of its own, and notes how it ends."""

    def __init__(self, when_cancelled=lambda: None, swallows=0):
        self.ends = []
        self.loop = None
        self.when_cancelled = when_cancelled
        self.swallows = swallows

    async def sleep(self):
        self.loop = asyncio.get_running_loop()
        while True:
            try:
                await asyncio.sleep(30)
            except (asyncio.CancelledError, JobTimeout) as error:
                self.ends.append(type(error))
                # A cancelled coroutine may wait, for example to close a connection.
                await asyncio.sleep(0)
                self.when_cancelled()
                if len(self.ends) > self.swallows:
                    raise

    def run(self):
        return awaited(self.sleep())


def test_a_coroutine_is_cancelled_through_its_loop():
    coroutine = Coroutine()
    with pytest.raises(JobTimeout, match=r"^Report ran longer than its max_run_time of 0\.05 s\.$") as caught:
        run_within(SHORT, "Report", coroutine.run)
    assert coroutine.ends == [asyncio.CancelledError]
    assert coroutine.loop.is_closed()
    # The error is raised where the coroutine was.
    assert caught.traceback[-1].name == "sleep"
    assert caught.value.__cause__ is None


def test_a_coroutine_that_ends_in_time_is_left_alone():
    assert run_within(LONG, "a job", lambda: awaited(asyncio.sleep(0, 5))) == 5


def test_a_coroutine_that_swallows_its_end_is_recorded():
    async def swallow():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(30)
        return "done"

    with pytest.raises(JobTimeout, match="and swallowed the CancelledError"):
        run_within(SHORT, "a job", lambda: awaited(swallow()))


def test_an_error_that_a_coroutine_makes_of_its_end_is_the_cause():
    def translate():
        raise ValueError("other")

    with pytest.raises(JobTimeout, match="turned the CancelledError into another error") as caught:
        run_within(SHORT, "a job", Coroutine(translate).run)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_coroutine_that_goes_on_is_ended_by_the_alarm_a_second_later():
    coroutine = Coroutine(swallows=1)
    with pytest.raises(JobTimeout, match=r"max_run_time of 0\.05 s\.$"):
        run_within(SHORT, "a job", coroutine.run)
    assert coroutine.ends == [asyncio.CancelledError] * 2
    assert coroutine.loop.is_closed()


def test_the_loop_is_closed_under_a_coroutine_that_never_ends(caplog):
    coroutine = Coroutine(swallows=1000)
    threads = set(threading.enumerate())
    with pytest.raises(JobTimeout):
        run_within(SHORT, "a job", coroutine.run)
    assert coroutine.loop.is_closed()
    assert len(coroutine.ends) > 2
    assert set(threading.enumerate()) <= threads
    # Its task is pending for ever; asyncio reports that when the task is collected.
    gc.collect()


def test_what_a_coroutine_has_called_in_the_main_thread_is_struck_by_the_alarm():
    loops = []

    async def call():
        loops.append(asyncio.get_running_loop())
        await sync_to_async(sleep)()

    with pytest.raises(JobTimeout):
        run_within(SHORT, "a job", lambda: awaited(call()))
    assert loops[0].is_closed()


def test_a_coroutine_that_blocks_its_loop_has_run_too_long_when_it_ends():
    loops = []

    async def block():
        loops.append(asyncio.get_running_loop())
        # This lasts until after the alarm.
        time.sleep(1.5)
        return "done"

    with pytest.raises(JobTimeout, match=r"max_run_time of 0\.05 s\.$"):
        run_within(SHORT, "a job", lambda: awaited(block()))
    assert loops[0].is_closed()


def test_a_thread_that_a_coroutine_has_started_does_not_keep_its_loop_open():
    loops, gate = [], threading.Event()

    async def wait():
        loops.append(asyncio.get_running_loop())
        await asyncio.to_thread(gate.wait)

    try:
        with pytest.raises(JobTimeout):
            run_within(SHORT, "a job", lambda: awaited(wait()))
        assert loops[0].is_closed()
    finally:
        gate.set()


def test_the_deadline_inside_a_coroutine_is_another_one():
    async def outer():
        with pytest.raises(JobTimeout, match=r"^inner ran longer"):
            await sync_to_async(run_within)(SHORT, "inner", sleep)
        with pytest.raises(JobTimeout, match=r"^inmost ran longer"):
            await sync_to_async(run_within)(SHORT, "inmost", Coroutine().run)
        return "gone on"

    assert run_within(LONG, "outer", lambda: awaited(outer())) == "gone on"


def test_the_deadline_around_a_coroutine_ends_what_it_performs():
    inner = Coroutine()

    async def outer():
        await sync_to_async(run_within)(LONG, "inner", inner.run)

    with pytest.raises(JobTimeout, match=r"^outer ran longer"):
        run_within(SHORT, "outer", lambda: awaited(outer()))
    assert inner.ends == [asyncio.CancelledError]
    assert inner.loop.is_closed()


def test_an_interruption_ends_a_coroutine_and_stays_one():
    coroutine = Coroutine()

    def interrupt(signum, frame):
        raise JobInterrupted

    handler = signal.signal(signal.SIGUSR1, interrupt)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(JobInterrupted):
            run_within(LONG, "a job", coroutine.run)
    finally:
        signal.signal(signal.SIGUSR1, handler)
        timer.join()
    assert coroutine.ends == [asyncio.CancelledError]
    assert coroutine.loop.is_closed()
