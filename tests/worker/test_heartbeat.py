"""The row of a worker and its heartbeat; what its supervisor or its own thread does meanwhile."""

import os
import signal
import socket
import time
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.utils import timezone
from django_delayed import enqueue_all
from django_delayed.databases import Filters
from django_delayed.execution.outcomes import Failed, Rescheduled
from django_delayed.models import DelayedJob, WorkerProcess
from django_delayed.worker import batch_watch, heartbeat
from django_delayed.worker.activity import Activity
from django_delayed.worker.configuration import Configuration
from django_delayed.worker.heartbeat import HeartbeatThread, register, send_heartbeat
from django_delayed.worker.ledger import Unsettled
from django_delayed.worker.shutdown import Shutdown
from django_delayed.worker.slot import GRACE, Current
from django_delayed.worker.tally import Tally
from tests.blog.jobs import Plain
from tests.playground.processes import until

W1, W2 = "1" * 32, "2" * 32
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def exits(monkeypatch):
    """The arguments with which the process would have been ended."""
    asked = []
    monkeypatch.setattr(heartbeat, "release_and_exit", lambda *what: asked.append(what))
    return asked


def started(activity, shutdown):
    """A heartbeat thread of the worker W1."""
    register(W1, Configuration())
    thread = HeartbeatThread(W1, activity, shutdown)
    thread.start()
    return thread


def claim(count, worker=W1):
    enqueue_all([Plain(number) for number in range(count)])
    return DelayedJob.objects.claim(worker, count)


def states():
    return [row.state for row in DelayedJob.objects.order_by("pk")]


def test_a_worker_is_registered_once_when_the_answer_of_the_database_was_lost():
    register(W1, Configuration())
    register(W1, Configuration())
    assert WorkerProcess.objects.count() == 1


def test_a_worker_is_registered_with_what_it_serves(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "h" * 300)
    register(W1, Configuration(Filters(("mail", "tweets"), min_priority=-3, max_priority=7)))
    register(W2, Configuration(name="mailer"))
    first, second = WorkerProcess.objects.order_by("pk")
    assert (first.name, second.name) == ("", "mailer")
    assert (first.pk, first.hostname, first.pid) == (W1, "h" * 255, os.getpid())
    assert (first.queues, first.min_priority, first.max_priority) == ("mail,tweets", -3, 7)
    assert (second.queues, second.min_priority, second.max_priority) == ("", None, None)
    for at in (first.started_at, first.heartbeat_at):
        assert abs(timezone.now() - at) < timedelta(seconds=60)


def test_a_heartbeat_is_written_to_the_row_of_its_worker_and_to_the_page(activity):
    before = timezone.now() - HOUR
    for worker in (W1, W2):
        WorkerProcess.objects.create(
            id=worker, hostname="host", pid=1, started_at=before, heartbeat_at=before
        )
    assert send_heartbeat(W1, 42, activity) is True
    first, second = WorkerProcess.objects.order_by("pk")
    assert first.pid == 42
    assert timezone.now() - first.heartbeat_at < timedelta(seconds=60)
    assert (second.pid, second.heartbeat_at) == (1, before)
    assert activity.is_stale(-SECOND)  # there has been a heartbeat
    assert not activity.is_stale(timedelta(seconds=60))


def test_a_heartbeat_says_what_each_slot_performs_and_how_many_jobs_are_done():
    activity = Activity(slots=3)
    register(W1, Configuration(), quiet=True)
    assert WorkerProcess.objects.get().quiet
    for slot, id in zip(activity.slots, (7, 8), strict=False):
        slot.begin(id, HOUR)
        slot.count(Tally(2, failed=int(id == 8)))
    send_heartbeat(W1, 42, activity)
    row = WorkerProcess.objects.get()
    assert (row.quiet, row.processed, row.failed) == (False, 4, 1)
    [(one, since), (other, _), nothing] = row.current_jobs
    assert (one, other, nothing) == (7, 8, None)
    assert timedelta(0) <= row.heartbeat_at - since < timedelta(seconds=60)
    activity.be_quiet(True)
    activity.slots[0].end()
    send_heartbeat(W1, 42, activity)
    row = WorkerProcess.objects.get()
    assert row.quiet
    assert [job and job[0] for job in row.current_jobs] == [None, 8, None]
    activity.close()


def test_a_heartbeat_is_one_statement(activity, django_assert_num_queries):
    register(W1, Configuration())
    with django_assert_num_queries(1):
        send_heartbeat(W1, 42, activity)


def test_a_worker_that_was_declared_dead_cannot_send_a_heartbeat(activity):
    assert send_heartbeat(W1, 42, activity) is False
    assert not activity.is_stale(-SECOND)
    assert not WorkerProcess.objects.exists()


def test_the_thread_sends_heartbeats_notes_long_jobs_and_closes_its_connection(activity, monkeypatch):
    closed = []
    close_all = connections.close_all
    monkeypatch.setattr(connections, "close_all", lambda: (closed.append(1), close_all()))
    monkeypatch.setattr(batch_watch, "RELEASE_AFTER", timedelta(0))
    rows = claim(3)
    thread = started(activity, Shutdown())
    WorkerProcess.objects.update(pid=1)
    activity.slots[0].claim(rows[0].lock_token)
    activity.slots[0].begin(rows[0].pk, HOUR)
    until(lambda: states() == ["running", "enqueued", "enqueued"])
    until(lambda: WorkerProcess.objects.get().pid == os.getpid())
    assert thread.daemon
    thread.stop()
    assert not thread.is_alive()
    assert closed == [1]
    assert connection.connection is not None


def test_a_worker_that_was_declared_dead_is_told_to_stop(activity):
    shutdown = Shutdown()
    register(W1, Configuration())
    thread = HeartbeatThread(W1, activity, shutdown)
    WorkerProcess.objects.all().delete()
    thread.start()
    until(lambda: shutdown.requested)
    thread.stop()


def test_a_stop_that_takes_longer_than_its_timeout_interrupts_the_job(activity, settings):
    settings.DJANGO_DELAYED = {"SHUTDOWN_TIMEOUT": timedelta(milliseconds=1)}

    class Interrupted(BaseException):
        pass

    def interrupt():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # or it would be interrupted again and again
        raise Interrupted

    with Shutdown(interrupt) as shutdown:
        thread = started(activity, shutdown)
        shutdown.request()
        with pytest.raises(Interrupted):
            time.sleep(60)
        thread.stop()


@pytest.mark.parametrize("requested", [True, False], ids=["in time", "nobody has asked for it"])
def test_a_job_is_not_interrupted_before_that_timeout(activity, settings, requested):
    settings.DJANGO_DELAYED = {"SHUTDOWN_TIMEOUT": HOUR if requested else timedelta(milliseconds=1)}
    shutdown, insisted = Shutdown(), []
    shutdown.insist = lambda: insisted.append(1)
    shutdown.requested = requested
    rounds = []
    thread = HeartbeatThread(W1, activity, shutdown)
    register(W1, Configuration())
    thread._watch.function = lambda: rounds.append(1)
    thread.start()
    until(lambda: len(rounds) > 3)
    thread.stop()
    assert insisted == []


@pytest.mark.parametrize(("attempts", "kind"), [(1, Rescheduled), (25, Failed)])
def test_a_job_that_outlives_its_limit_and_the_grace_ends_the_process(
    activity, exits, monkeypatch, attempts, kind
):
    current = Current(7, HOUR + GRACE + SECOND, HOUR)
    monkeypatch.setattr(activity.slots[0], "current", lambda: current)
    thread = started(activity, Shutdown())
    until(lambda: exits)
    thread.stop()
    worker, ids, decide, unsettled = exits[0]
    assert unsettled == [Unsettled(0, ())]
    assert (worker, ids) == (W1, [7])
    outcome = decide(DelayedJob(name="a job", attempts=attempts, max_attempts=25))
    assert isinstance(outcome, kind)
    assert "longer than its max_run_time of 3600 s" in outcome.error.message


@pytest.mark.parametrize(
    "current",
    [None, Current(7, HOUR + GRACE, HOUR), Current(7, 9 * HOUR, None)],
    ids=["no job", "a job within the grace", "a job that is settled"],
)
def test_nothing_else_ends_the_process(activity, exits, monkeypatch, current):
    asked = []
    monkeypatch.setattr(activity.slots[0], "current", lambda: asked.append(1) or current)
    thread = started(activity, Shutdown())
    until(lambda: len(asked) > 4)
    thread.stop()
    assert exits == []
