"""SIGUSR2 and SIGCONT, and a worker that is quiet."""

import signal
import threading
from datetime import timedelta

import pytest
from django_delayed import enqueue_all
from django_delayed.models import DelayedJob
from django_delayed.worker.activity import Activity
from django_delayed.worker.configuration import DONE, Configuration
from django_delayed.worker.quiet import quiet_by_signal
from django_delayed.worker.shutdown import Shutdown
from django_delayed.worker.wakeup import Wakeup
from django_delayed.worker.work_off import work_off
from django_delayed.worker.worker import Worker
from tests.blog.jobs import Plain
from tests.playground.processes import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def worker():
    """A worker that claims ten rows at once, and ends when nothing is ready."""
    wakeup, activity = Wakeup(), Activity()
    with Shutdown() as shutdown, quiet_by_signal(activity.be_quiet):
        worker = Worker("1" * 32, Configuration(sleep_delay=timedelta(0)), wakeup, shutdown, activity)
        worker.batch_size.size = 10
        yield worker
    activity.close()
    wakeup.close()


def states():
    return [(row.state, row.attempts) for row in DelayedJob.objects.all()]


def when_quiet(worker, function):
    """Call this function in another thread while the worker is quiet and sleeps."""
    slept, wait = threading.Event(), worker.wakeup.wait
    worker.wakeup.wait = lambda seconds: slept.set() or wait(seconds)

    def work():
        assert slept.wait(PATIENCE)
        function()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_quiet_worker_releases_what_it_has_not_begun_and_claims_again_when_resumed(
    worker, monkeypatch, in_job, diary, caplog
):
    monkeypatch.setattr("django_delayed.worker.worker.BATCH_SECONDS", 3600)
    in_job(lambda: signal.raise_signal(signal.SIGUSR2))
    enqueue_all([Plain(number) for number in range(3)])
    seen = []

    def look():
        # It asks no table: in this thread, SQLite would have another database in memory.
        seen.append(list(diary))
        signal.pthread_kill(threading.main_thread().ident, signal.SIGCONT)

    monkeypatch.setattr(worker.session, "close", lambda: seen.append(states()))
    thread = when_quiet(worker, look)
    with caplog.at_level("INFO"):
        assert worker.run() == DONE
    thread.join()
    assert seen[:2] == [[("enqueued", 0)] * 3, []]
    assert len(diary) == 3
    said = f"Worker {worker.id} is quiet: it claims no more", f"Worker {worker.id} goes on"
    assert [line for line in caplog.messages if line in said] == [*said]


def test_a_quiet_worker_can_be_stopped(worker, diary):
    worker.activity.be_quiet(True)
    enqueue_all([Plain(1)])
    thread = when_quiet(worker, lambda: worker.shutdown.request())
    assert worker.run() == DONE
    thread.join()
    assert diary == []
    assert states() == [("enqueued", 0)]


def test_jobs_workoff_is_quiet_after_the_signal_too(in_job, diary, monkeypatch):
    waits, wait = [], Wakeup.wait

    def resume(wakeup, seconds, *fd):
        waits.append(len(diary))
        if len(waits) == 3:
            signal.raise_signal(signal.SIGCONT)
        return wait(wakeup, min(seconds, 0.01), *fd)

    monkeypatch.setattr(Wakeup, "wait", resume)
    in_job(lambda: signal.raise_signal(signal.SIGUSR2))
    enqueue_all([Plain(1)])
    assert work_off(Configuration()) is True
    assert waits[:3] == [0, 0, 0]
    assert len(diary) == 1


def test_the_handlers_are_restored():
    before = [signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGCONT)]
    said = []
    with quiet_by_signal(said.append):
        for number in (signal.SIGUSR2, signal.SIGCONT):
            signal.raise_signal(number)
    assert said == [True, False]
    assert [signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGCONT)] == before
