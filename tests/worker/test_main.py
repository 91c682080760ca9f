"""The watch over the supervisor, in a worker."""

import os
import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import OperationalError
from django_delayed.models import WorkerProcess
from django_delayed.worker import availability, main
from django_delayed.worker.activity import Activity
from django_delayed.worker.configuration import Configuration
from django_delayed.worker.heartbeat import register
from django_delayed.worker.ledger import Unsettled
from django_delayed.worker.main import SupervisorWatch
from django_delayed.worker.recovery import release_and_deregister
from django_delayed.worker.shutdown import Shutdown
from django_delayed.worker.wakeup import Wakeup
from tests.playground.processes import PATIENCE

W1 = "1" * 32
FOREVER = 10**12  # seconds: if a wait ends, something has woken it

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def worker():
    register(W1, Configuration())
    worker = SimpleNamespace(id=W1, shutdown=Shutdown(), wakeup=Wakeup())
    yield worker
    worker.wakeup.close()


@pytest.fixture
def activity():
    """The activity of a worker that has performed two jobs and not removed their rows yet."""
    activity = Activity()
    [slot] = activity.slots
    slot.claim(7)
    slot.ledger.add(1)
    slot.ledger.add(2)
    yield activity
    activity.close()


@pytest.fixture
def supervisor(worker, activity, monkeypatch):
    """A supervisor that is gone after `close()`, and the watch over it, which then only sets `ended`."""
    reader, writer = os.pipe()
    ended, with_what = threading.Event(), []
    monkeypatch.setattr(
        main, "release_and_exit", lambda *what, **more: (with_what.append((what, more)), ended.set())
    )
    watch = SupervisorWatch(reader, worker, activity)
    watch.start()
    open_ends = [writer]

    def close():
        # It is closed only once: later the number may belong to another file.
        if open_ends:
            os.close(open_ends.pop())

    yield SimpleNamespace(watch=watch, close=close, ended=ended, with_what=with_what)
    close()
    assert ended.wait(PATIENCE)
    watch.join(PATIENCE)
    os.close(reader)


@pytest.fixture
def at_once(settings):
    settings.DJANGO_DELAYED = {"SHUTDOWN_TIMEOUT": timedelta(0)}


def test_a_worker_whose_supervisor_is_gone_is_told_to_stop_and_woken(at_once, supervisor, worker):
    assert supervisor.watch.daemon
    assert not worker.shutdown.requested
    supervisor.close()
    worker.wakeup.wait(FOREVER)
    assert worker.shutdown.requested
    assert supervisor.ended.wait(PATIENCE)
    assert supervisor.with_what == [((W1,), {"unsettled": [Unsettled(7, (1, 2))]})]


def test_a_job_may_end_while_its_worker_is_told_to_stop(settings, supervisor, worker):
    settings.DJANGO_DELAYED = {"SHUTDOWN_TIMEOUT": timedelta(seconds=0.2)}
    supervisor.close()
    worker.wakeup.wait(FOREVER)
    assert not supervisor.ended.is_set()
    assert supervisor.ended.wait(PATIENCE)


def test_a_worker_that_ends_without_its_supervisor_removes_its_row_itself(
    at_once, supervisor, worker, monkeypatch
):
    monkeypatch.setattr(availability, "backoff", lambda: iter([0.001] * 9))
    tried = []

    def fail_once(id, unsettled):
        tried.append((id, unsettled))
        if len(tried) == 1:
            raise OperationalError("away")
        release_and_deregister(id, unsettled=unsettled)

    monkeypatch.setattr(main, "release_and_deregister", fail_once)
    supervisor.close()
    assert supervisor.ended.wait(PATIENCE)
    supervisor.watch.worker_has_ended()
    assert tried == [(W1, [Unsettled(7, (1, 2))])] * 2
    assert not WorkerProcess.objects.exists()


def test_a_worker_that_ends_before_its_supervisor_leaves_its_row_to_it(at_once, supervisor):
    supervisor.watch.worker_has_ended()
    assert WorkerProcess.objects.exists()
