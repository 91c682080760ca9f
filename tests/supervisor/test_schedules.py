"""The thread of a supervisor that makes the jobs of schedules."""

import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import OperationalError
from django_delayed import every
from django_delayed.features.recurring.definitions import definitions
from django_delayed.features.recurring.runs import now_in_seconds
from django_delayed.models import DelayedJob, Schedule, ScheduleRun
from django_delayed.supervisor.database_thread import DatabaseThread
from django_delayed.supervisor.schedules import ScheduleTask, ScheduleThread
from django_delayed.worker.availability import PeriodicTask
from tests.blog import jobs
from tests.playground.processes import PATIENCE, until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("due_in", "waits"), [(None, (48, 60)), (0.25, (0.25, 0.25)), (7.0, (7, 7)), (86_400.0, (48, 60))]
)
def test_schedules_are_looked_at_when_the_next_tick_comes_and_once_a_lease(due_in, waits):
    ticker = SimpleNamespace(due_in=None, runs=0)

    def run():
        ticker.due_in = due_in
        ticker.runs += 1

    ticker.run = run
    task = ScheduleTask(ticker)
    assert task.run_if_due()
    assert not task.run_if_due()
    assert ticker.runs == 1
    # On a busy machine, some time passes between the run and this question.
    assert waits[0] - 5 < task.due_in <= waits[1]


def test_after_an_outage_schedules_are_looked_at_once_more_soon():
    ticker = SimpleNamespace(due_in=0.0)

    def run():
        raise OperationalError("no route to host")

    ticker.run = run
    task = ScheduleTask(ticker)
    assert not task.run_if_due()
    assert 0 < task.due_in < 15


@pytest.fixture
def thread(settings):
    """The thread of a supervisor that has these schedules in its code."""
    threads = []

    def make(**schedules):
        entries = {
            name: {"job": "tests.blog.jobs:Plain", "schedule": times} for name, times in schedules.items()
        }
        settings.DJANGO_DELAYED = {"RECURRING": entries}
        threads.append(ScheduleThread(definitions()))
        return threads[-1]

    yield make
    for thread in threads:
        thread.end(PATIENCE)
        assert not thread.is_alive()
        assert thread.error is None


def test_without_schedules_no_thread_is_started_and_one_query_is_made(thread, django_assert_num_queries):
    idle = thread()
    for _ in range(2):
        with django_assert_num_queries(1):
            idle.start_if_needed()
    assert idle.ident is None


def test_a_schedule_of_the_code_starts_it_and_an_operators_does_when_it_is_there(thread):
    of_code = thread(often=every(1))
    of_code.start_if_needed()
    of_code.start_if_needed()
    until(lambda: ScheduleRun.objects.filter(schedule__name="often").count() >= 2)
    of_code.end(PATIENCE)
    other = thread()
    Schedule.objects.all().delete()
    other.start_if_needed()
    assert other.ident is None
    row = Schedule.objects.create(
        name="clean", job="tests.blog.jobs:Plain", every=timedelta(seconds=1), since=now_in_seconds()
    )
    other.start_if_needed()
    until(lambda: row.runs.count() >= 2)


def test_a_slow_hook_holds_up_no_heartbeat(thread, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    beats = []

    def hang(self):
        begun.set()
        assert go_on.wait(PATIENCE)

    monkeypatch.setattr(jobs.Plain, "before_enqueue", hang)
    database = DatabaseThread([PeriodicTask(lambda: beats.append(1), timedelta(milliseconds=1))])
    schedules = thread(often=every(1))
    database.add([PeriodicTask(schedules.start_if_needed, timedelta(seconds=60))])
    database.start()
    try:
        assert begun.wait(PATIENCE)
        before = len(beats)
        until(lambda: len(beats) > before + 10)
    finally:
        go_on.set()
        database.end(PATIENCE)
    until(DelayedJob.objects.exists)
