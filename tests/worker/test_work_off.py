"""Working off the queue in the process of the tests."""

import signal
import threading
from datetime import timedelta

import pytest
from django.db import OperationalError, transaction
from django.utils import timezone
from django_delayed import enqueue_all
from django_delayed.conf import settings
from django_delayed.execution.outcomes import Finished, Released
from django_delayed.models import DelayedJob, WorkerProcess
from django_delayed.worker import work_off as module
from django_delayed.worker.configuration import Configuration
from django_delayed.worker.settling import Settling
from django_delayed.worker.work_off import work_off
from tests.blog.jobs import Plain
from tests.playground.processes import nothing_is_held

DEAD = "1" * 32

pytestmark = pytest.mark.django_db(transaction=True)


def stop():
    signal.raise_signal(signal.SIGTERM)


def stop_at_once():
    stop()
    signal.raise_signal(signal.SIGINT)
    raise AssertionError("it was not interrupted")


def registered():
    return WorkerProcess.objects.count()


def test_it_is_registered_and_sends_heartbeats_while_it_works(in_job):
    seen = []
    in_job(lambda: seen.append((registered(), [thread.name for thread in threading.enumerate()])))
    assert work_off(Configuration()) is True
    [(count, threads)] = seen
    assert count == 1
    assert "django_delayed heartbeat" in threads
    assert "django_delayed heartbeat" not in [thread.name for thread in threading.enumerate()]
    assert nothing_is_held()


def test_in_a_callers_transaction_it_neither_registers_nor_sends_heartbeats(in_job):
    seen = []
    with transaction.atomic():
        in_job(lambda: seen.append((registered(), threading.active_count())))
        before = threading.active_count()
        assert work_off(Configuration()) is True
    assert seen == [(0, before)]
    assert not DelayedJob.objects.exists()


def test_a_signal_lets_the_current_job_end_and_no_other_begin(in_job, diary):
    outcomes = []
    in_job(stop)
    enqueue_all([Plain(1)])
    assert work_off(Configuration(), on_settled=outcomes.append) is False
    assert [type(outcome) for outcome in outcomes] == [Finished]
    assert diary == []
    assert DelayedJob.objects.get().state == "enqueued"
    assert nothing_is_held()


def test_a_second_signal_interrupts_the_job_which_gets_its_attempt_back(in_job):
    outcomes = []
    in_job(stop_at_once)
    assert work_off(Configuration(), on_settled=outcomes.append) is False
    assert [type(outcome) for outcome in outcomes] == [Released]
    row = DelayedJob.objects.get()
    assert (row.state, row.attempts, row.crashes) == ("enqueued", 0, 0)
    assert nothing_is_held()


def test_a_second_signal_while_an_outcome_is_written_interrupts_nothing(in_job, monkeypatch):
    write = Settling._write

    def write_meanwhile(settling, performed, move):
        stop()
        stop()
        return write(settling, performed, move)

    monkeypatch.setattr(Settling, "_write", write_meanwhile)
    in_job(lambda: None)
    assert work_off(Configuration()) is False
    assert not DelayedJob.objects.exists()
    assert nothing_is_held()


def test_jobs_that_a_dead_worker_held_are_recovered_first(diary):
    enqueue_all([Plain(1)])
    DelayedJob.objects.claim(DEAD)
    long_ago = timezone.now() - 2 * settings.LEASE
    WorkerProcess.objects.create(id=DEAD, hostname="host", pid=1, started_at=long_ago, heartbeat_at=long_ago)
    assert work_off(Configuration()) is True
    assert len(diary) == 1
    assert nothing_is_held()


def test_a_recovery_that_fails_is_left_to_others(monkeypatch, diary):
    def fail():
        raise OperationalError("away")

    monkeypatch.setattr(module, "recover_stale", fail)
    enqueue_all([Plain(1)])
    assert work_off(Configuration()) is True
    assert len(diary) == 1


@pytest.mark.parametrize("is_stopped", [True, False])
def test_its_row_is_written_as_soon_as_the_database_is_available_unless_it_is_stopped(
    monkeypatch, diary, is_stopped
):
    register, tried = module.register, []

    def fail_twice(*what):
        tried.append(what)
        if is_stopped:
            stop()
        if len(tried) < 3:
            raise OperationalError("away")
        register(*what)

    monkeypatch.setattr(module, "register", fail_twice)
    monkeypatch.setattr("django_delayed.worker.availability.backoff", lambda: iter([0.001] * 9))
    enqueue_all([Plain(1)])
    assert work_off(Configuration()) is not is_stopped
    assert len(tried) == (1 if is_stopped else 3)
    assert len(diary) == (0 if is_stopped else 1)
    assert nothing_is_held()


def test_a_database_that_goes_away_without_a_stop_is_an_error(monkeypatch):
    def fail(*what):
        raise OperationalError("away")

    monkeypatch.setattr(module, "register", fail)
    monkeypatch.setattr("django_delayed.worker.statements.Statements.gives_up", lambda *what: True)
    with pytest.raises(OperationalError):
        work_off(Configuration())


def test_it_ends_when_nothing_is_ready_whatever_the_sleep_delay(diary):
    enqueue_all([Plain(1)])
    assert work_off(Configuration(sleep_delay=timedelta(hours=1))) is True
    assert len(diary) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_handling_of_signals_is_put_back(number):
    before = signal.getsignal(number), signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before[1])
    work_off(Configuration())
    assert (signal.getsignal(number), signal.set_wakeup_fd(-1)) == before
