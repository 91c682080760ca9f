"""The watch over the supervisor, in a worker."""

import os
import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import OperationalError
from django_delayed.models import WorkerProcess
from django_delayed.worker import availability, main
from django_delayed.worker.configuration import Configuration
from django_delayed.worker.heartbeat import register
from django_delayed.worker.main import SupervisorWatch
from django_delayed.worker.recovery import release_and_deregister
from django_delayed.worker.shutdown import Shutdown
from django_delayed.worker.wakeup import Wakeup
from tests.playground.processes import PATIENCE

W1 = "1" * 32
FOREVER = 10**12  # seconds: a wait that ends has been woken

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def worker():
    register(W1, Configuration())
    worker = SimpleNamespace(id=W1, shutdown=Shutdown(), wakeup=Wakeup())
    yield worker
    worker.wakeup.close()


@pytest.fixture
def supervisor(worker, monkeypatch):
    """A supervisor that is gone after `close()`, and its watch, which sets `ended` and ends nothing."""
    reader, writer = os.pipe()
    ended, with_what = threading.Event(), []
    monkeypatch.setattr(main, "release_and_exit", lambda *what: (with_what.append(what), ended.set()))
    watch = SupervisorWatch(reader, worker)
    watch.start()
    supervisor = SimpleNamespace(
        watch=watch, close=lambda: os.close(writer), ended=ended, with_what=with_what
    )
    yield supervisor
    if watch.is_alive():
        supervisor.close()
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
    assert supervisor.with_what == [(W1,)]


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

    def fail_once(id):
        tried.append(id)
        if len(tried) == 1:
            raise OperationalError("away")
        release_and_deregister(id)

    monkeypatch.setattr(main, "release_and_deregister", fail_once)
    supervisor.close()
    assert supervisor.ended.wait(PATIENCE)
    supervisor.watch.worker_has_ended()
    assert tried == [W1, W1]
    assert not WorkerProcess.objects.exists()


def test_a_worker_that_ends_before_its_supervisor_leaves_its_row_to_it(at_once, supervisor):
    supervisor.watch.worker_has_ended()
    assert WorkerProcess.objects.exists()
