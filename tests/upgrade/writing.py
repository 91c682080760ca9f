"""Write rows of every state and kind with the present code. Run by scripts/stored_database."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.core.mail import EmailMessage
from django_delayed import delay, enqueue
from django_delayed.databases import DatabaseNow
from django_delayed.features.recurring.models import Schedule, ScheduleRun
from django_delayed.features.recurring.schedules import seconds_of
from django_delayed.features.recurring.ticker import Ticker
from django_delayed.mail import deliver_later
from django_delayed.models import DelayedJob, FailureGroup, JobStat, PausedQueue, WorkerProcess
from django_delayed.models.requests import ask_workers
from django_delayed.models.workers import Verb
from django_delayed.worker.configuration import Configuration
from django_delayed.worker.heartbeat import register
from tests.blog.work import perform_next
from tests.upgrade.work import Fails, InSteps, Kept, Note, Once, add, note

LATER = datetime(2090, 1, 1, tzinfo=UTC)
DEAD = "d" * 32


def write():
    """Fill the tables."""
    write_performed()
    write_held()
    write_waiting()
    write_beside()


def write_performed():
    """Write rows of jobs that were tried; each job is performed before the next one is ready."""
    Kept.perform_later("kept")
    perform_next()
    add.enqueue(1, 2)
    perform_next()
    for job in (Fails("failed"), InSteps()):
        enqueue(job, max_attempts=1)
        perform_next()
    add.enqueue(1, 0)
    perform_next()
    DelayedJob.objects.retrying().give_up()
    for job in (Fails("retrying"), InSteps()):
        enqueue(job)
        perform_next()
    DelayedJob.objects.retrying().update(run_at=LATER)
    [fingerprint, *_] = DelayedJob.objects.failed().values_list("error_fingerprint", flat=True)
    FailureGroup.objects.note(fingerprint, "Their server was moved.", "Ada")


def write_held():
    """Write rows that a dead worker holds: one that it had begun, and a batch."""
    register(DEAD, Configuration(name="stored"))
    Note.perform_later("begun")
    DelayedJob.objects.claim(DEAD, 1)
    for number in (1, 2):
        Note.perform_later(f"{number} of a batch")
    DelayedJob.objects.claim(DEAD, 2)
    ask_workers(Verb.STOP, [DEAD], "Ada")
    WorkerProcess.objects.update(heartbeat_at=DatabaseNow(plus=timedelta(days=-1)))


def write_waiting():
    delay(note, queue="mail", priority=-3)("call", Decimal("1.50"), also=[1, "two"])
    Note.perform_later(timedelta(minutes=5))
    Note.set(run_at=LATER).perform_later("scheduled")
    Once.perform_later("unique")
    delay(note, unique=True, run_at=LATER)("unique and scheduled")
    add.enqueue(3, 4)
    deliver_later(EmailMessage("Hello", "How are you?", "a@example.com", ["b@example.com"]))
    Note.set(queue="paused").perform_later("paused")


def write_beside():
    """Write rows of the other tables."""
    PausedQueue.objects.create(queue="paused", paused_at=DatabaseNow(), paused_by="Ada")
    minute = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    JobStat.objects.create(id=1, minute=minute, processed=3, failed=1, waited=0.5, ran=1.5, longest=1.0)
    Schedule.objects.create(
        name="hourly", job="tests.upgrade.work:Note", every=timedelta(hours=1), since=0,
        arguments='{"args": ["hourly"], "kwargs": {}}',
    )  # fmt: skip
    Ticker({}).run()
    # The tick of now may still be the last one when this is loaded.
    tick = seconds_of(minute.replace(minute=0))
    Schedule.objects.update(since=tick, last_tick=tick)
    ScheduleRun.objects.update(tick=tick)
