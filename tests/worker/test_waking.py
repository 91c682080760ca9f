"""An idle worker begins a new job at once, however long it would otherwise sleep."""

import time
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone
from django_delayed import enqueue_all
from django_delayed.databases import watches
from django_delayed.models import DelayedJob
from django_delayed.operations import pause, resume
from tests.blog.jobs import Plain
from tests.connections import needs_server, wrapped
from tests.playground.jobs import Note
from tests.playground.pooler import PgBouncer
from tests.playground.processes import command, ledger, no_job_is_left, until

__all__ = ["command", "ledger"]

pytestmark = pytest.mark.django_db(transaction=True)

on_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="only PostgreSQL has notifications"
)
# This is longer than a test waits for anything.
ASLEEP = ("--sleep-delay", "600")


@pytest.fixture
def idle(command, ledger):
    """Start a worker that has performed a job and then sleeps."""

    def start(**options):
        worker = command("jobs_work", *ASLEEP, **options)
        Note.perform_later(str(ledger), "first")
        ledger.has("first")
        until(no_job_is_left)
        return worker

    return start


def one(ledger):
    Note.perform_later(str(ledger), "woken")


def several(ledger):
    enqueue_all([Note(str(ledger), "woken"), Note(str(ledger), "other")])


def in_a_transaction(ledger):
    with transaction.atomic():
        Note.perform_later(str(ledger), "woken")
        with transaction.atomic():
            Note.perform_later(str(ledger), "other")


def on_commit(ledger):
    with transaction.atomic():
        transaction.on_commit(lambda: Note.perform_later(str(ledger), "woken"))


def one_after_the_other(ledger):
    Note.perform_later(str(ledger), "other")
    ledger.has("other")
    Note.perform_later(str(ledger), "woken")


def in_a_moment(ledger):
    Note.set(wait=0.5).perform_later(str(ledger), "woken")


def run_now(ledger):
    Note.set(wait=3600).perform_later(str(ledger), "woken")
    time.sleep(watches.NOTIFY_EVERY)  # otherwise the notification of the enqueue would wake the worker
    assert DelayedJob.objects.run_now() == 1


def retry(ledger):
    row = Note.set(wait=3600).perform_later(str(ledger), "woken")
    DelayedJob.objects.filter(pk=row.pk).update(failed_at=timezone.now())
    time.sleep(watches.NOTIFY_EVERY)
    assert DelayedJob.objects.retry() == 1


def adjust(ledger):
    Note.set(wait=3600).perform_later(str(ledger), "woken")
    time.sleep(watches.NOTIFY_EVERY)
    assert DelayedJob.objects.adjust(run_at=timezone.now()) == 1


ENQUEUES = [
    *(one, several, in_a_transaction, on_commit, one_after_the_other, in_a_moment),
    *(run_now, retry, adjust),
]


@pytest.mark.parametrize("enqueue", ENQUEUES, ids=lambda function: function.__name__)
def test_an_idle_worker_is_woken(idle, ledger, enqueue):
    worker = idle()
    enqueue(ledger)
    ledger.has("woken")
    until(no_job_is_left)
    assert worker.stop() == 0


def test_an_idle_worker_is_woken_by_a_job_that_is_put_into_a_queue_that_it_serves(command, ledger):
    worker = command("jobs_work", *ASLEEP, "--queues", "default")
    Note.perform_later(str(ledger), "first")
    ledger.has("first")
    until(no_job_is_left)
    Note.set(queue="other").perform_later(str(ledger), "woken")
    time.sleep(watches.NOTIFY_EVERY)
    assert DelayedJob.objects.adjust(queue="default") == 1
    ledger.has("woken")
    until(no_job_is_left)
    assert worker.stop() == 0


def test_a_worker_sleeps_through_none_of_many_jobs_that_come_one_by_one(idle, ledger):
    worker = idle()
    for number in range(60):
        Note.perform_later(str(ledger), f"job {number}")
        time.sleep(0.013)  # so that most come when the one before has been performed
    until(no_job_is_left)
    assert len([line for line in ledger.lines if line.startswith("job")]) == 60
    assert worker.stop() == 0


def test_a_paused_queue_is_left_alone_and_served_at_once_when_it_is_resumed(idle, ledger):
    worker = idle()
    pause(["mail"], "ann")
    Note.set(queue="mail", priority=-10).perform_later(str(ledger), "of the paused queue")
    Note.perform_later(str(ledger), "of another")
    ledger.has("of another")
    until(lambda: DelayedJob.objects.count() == 1)
    # The worker sleeps, and the resume of the queue wakes it.
    resume(["mail"])
    ledger.has("of the paused queue")
    assert ledger.lines.index("of another") < ledger.lines.index("of the paused queue")
    until(no_job_is_left)
    assert worker.stop() == 0


@needs_server
def test_a_worker_whose_connection_was_lost_in_its_sleep_is_woken_again(idle, ledger):
    worker = idle()
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        else:
            cursor.execute(
                "SELECT id FROM information_schema.processlist"
                " WHERE db = DATABASE() AND id <> CONNECTION_ID()"
            )
            for [id] in cursor.fetchall():
                cursor.execute(f"KILL {id}")
    Note.perform_later(str(ledger), "again")
    ledger.has("again")
    until(no_job_is_left)
    Note.perform_later(str(ledger), "and again")
    ledger.has("and again")
    assert worker.stop() == 0


@pytest.fixture
def notified():
    """One word for each NOTIFY."""
    words = []

    def note(execute, sql, params, many, context):
        words.extend(["NOTIFY"] if "notify" in sql.lower() else [])
        return execute(sql, params, many, context)

    with wrapped(note):
        yield words


@on_postgresql
def test_jobs_of_one_transaction_notify_once(monkeypatch, notified):
    monkeypatch.setattr(watches, "NOTIFY_EVERY", 600)
    monkeypatch.setattr(watches, "_notified_at", -1000)
    with transaction.atomic():
        for number in range(5):
            Plain.perform_later(number)
    assert notified == ["NOTIFY"]


@on_postgresql
@pytest.mark.parametrize("verb", ["retry", "run_now", "adjust"])
def test_an_operator_who_makes_jobs_due_notifies_the_workers(monkeypatch, notified, verb):
    row = Plain.perform_later(1)
    later = timezone.now() + timedelta(hours=1)
    DelayedJob.objects.filter(pk=row.pk).update(**{"failed_at" if verb == "retry" else "run_at": later})
    notified.clear()
    monkeypatch.setattr(watches, "_notified_at", -1000)
    move = getattr(DelayedJob.objects.all(), verb)
    assert move(**({"run_at": timezone.now()} if verb == "adjust" else {})) == 1
    assert notified == ["NOTIFY"]


@on_postgresql
def test_a_transaction_that_is_rolled_back_notifies_nobody(monkeypatch, notified):
    monkeypatch.setattr(watches, "_notified_at", -1000)
    with transaction.atomic():
        Plain.perform_later("never")
        transaction.set_rollback(True)
    assert notified == []
    assert not DelayedJob.objects.exists()


@pytest.fixture
def pooler():
    with PgBouncer() as pooler:
        yield pooler


@on_postgresql
@pytest.mark.skipif(not PgBouncer.is_installed(), reason="PgBouncer is not installed")
def test_behind_a_pooler_a_worker_looks_for_jobs(idle, ledger, pooler):
    worker = idle(environment={"PGPORT": str(pooler.port)})
    worker.has_said("No notifications arrive over this connection, perhaps because of a pooler")
    Note.perform_later(str(ledger), "woken")
    ledger.has("woken")
    until(no_job_is_left)
    assert worker.stop() == 0
    assert not worker.said("Traceback")
