"""The ticks of schedules become jobs: each once, when it is due by the database's clock."""

import threading
from datetime import datetime, timedelta
from itertools import pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from django.db import IntegrityError, OperationalError, connection, connections, transaction
from django_delayed import cron, every
from django_delayed.conf import settings as delayed
from django_delayed.databases import database_now, virtual_time
from django_delayed.features.recurring.definitions import definition_of
from django_delayed.features.recurring.runs import make_run, pause, resume
from django_delayed.features.recurring.schedules import moment_of, seconds_of
from django_delayed.models import DelayedJob, Schedule, ScheduleRun
from django_delayed.reports import reporting
from tests.blog import jobs
from tests.connections import wrapped

FIVE = 300  # seconds
HOUR = timedelta(hours=1)


@pytest.fixture
def time():
    with virtual_time() as time:
        yield time


@pytest.fixture
def on_time(time):
    """Advance to the next full five minutes, after this many others. Returns that second."""

    def advance(others=0):
        now = database_now(connection)
        tick = next(every(FIVE).after(now)) + others * timedelta(seconds=FIVE)
        time.advance(tick - now + timedelta(milliseconds=5))
        return seconds_of(tick)

    return advance


def test_a_tick_becomes_one_job_when_it_is_due(schedule, ticker, on_time, ticks, made):
    row, one = schedule(queue="nightly"), ticker()
    one.run()
    assert made() == []
    tick = on_time()
    one.run()
    one.run()
    [job] = made()
    assert (job.name, job.queue) == ("Plain", "nightly")
    assert seconds_of(job.run_at) == tick
    assert ticks() == [tick]
    assert ScheduleRun.objects.get().delayed_job_id == job.pk
    row.refresh_from_db()
    assert (row.since, row.last_tick) == (tick, tick)
    [claimed] = DelayedJob.objects.claim("1" * 32)
    assert claimed == job


def test_the_supervisor_is_woken_when_the_next_tick_comes(schedule, ticker, on_time, time, ticks):
    schedule()
    one = ticker()
    tick = on_time()
    one.run()
    # In between, it looks for changes of an operator.
    assert one.due_in == delayed.LEASE.total_seconds() / 6
    time.advance(timedelta(seconds=FIVE - 5))
    one.run()
    assert 0 < one.due_in < 5.01
    time.advance(timedelta(seconds=one.due_in))
    one.run()
    assert ticks() == [tick, tick + FIVE]


def test_a_schedule_that_is_paused_or_gone_does_not_wake_the_supervisor(schedule, ticker, recurring):
    recurring(it={"schedule": every(1)})
    ticker().run()
    recurring()
    schedule(every=timedelta(seconds=1), paused=True)
    one = ticker()
    one.run()
    assert one.due_in is None


def test_several_supervisors_make_the_job_of_a_tick_once(schedule, ticker, on_time, ticks):
    schedule()
    one, other = ticker(), ticker()
    tick = on_time()
    for supervisor in (one, other, ticker()):
        supervisor.run()
    assert ticks() == [tick]


@pytest.mark.django_db(transaction=True)
def test_only_one_of_several_racing_supervisors_makes_the_job(schedule, ticks, made):
    row = schedule(every=timedelta(seconds=1))
    numbers, racers, errors, made_by = range(1, 21), 4, [], []
    barrier = threading.Barrier(racers)

    def race():
        try:
            for number in numbers:
                barrier.wait(60)
                made_by.append(make_run(row, definition_of(row), moment_of(row.since + number)))
        except BaseException as error:
            errors.append(error)
            barrier.abort()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=race) for _ in range(racers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert ticks() == [row.since + number for number in numbers]
    assert len(made()) == len(numbers)
    assert sum(job is not None for job in made_by) == len(numbers)


def test_a_unique_constraint_refuses_a_second_run_of_a_tick(schedule, on_time, made):
    row = schedule()
    tick = on_time()
    assert make_run(row, definition_of(row), moment_of(tick))
    Schedule.objects.update(since=tick - 1)
    with pytest.raises(IntegrityError), transaction.atomic():
        make_run(row, definition_of(row), moment_of(tick))
    assert len(made()) == 1


@pytest.mark.django_db(transaction=True)
def test_a_job_is_not_enqueued_if_its_run_cannot_be_written(schedule, on_time, made, ticks):
    row = schedule()
    tick = on_time()

    def refuse(execute, sql, *how):
        if sql.startswith("INSERT") and "schedulerun" in sql:
            raise OperationalError("the disk is full")
        return execute(sql, *how)

    with wrapped(refuse), pytest.raises(OperationalError):
        make_run(row, definition_of(row), moment_of(tick))
    assert (made(), ticks()) == ([], [])
    row.refresh_from_db()
    assert row.last_tick is None
    assert make_run(row, definition_of(row), moment_of(tick))


def test_a_project_without_schedules_takes_one_query(ticker, django_assert_num_queries):
    one = ticker()
    for _ in range(3):
        with django_assert_num_queries(1):
            one.run()
    assert one.due_in is None


def test_a_look_takes_one_query_for_any_number_of_schedules(
    schedule, ticker, recurring, django_assert_num_queries
):
    recurring(**{f"s{number}": {"schedule": every(100 * 86_400)} for number in range(5)})
    schedule(every=timedelta(days=1000))
    one = ticker()
    one.run()
    with django_assert_num_queries(1):
        one.run()


# Schedules of the code.


def test_a_supervisor_writes_the_schedules_of_its_code(recurring, ticker, monkeypatch):
    recurring(
        often={"schedule": every(60), "catch_up": "all"},
        nightly={
            "schedule": cron("0 3 * * *", zone="Europe/Paris"),
            "job": "tests.blog.jobs:resize",
            "args": [1],
        },
    )
    monkeypatch.setattr(jobs.Swallowing, "schedule", cron("5 4 * * *"))
    ticker().run()
    found = {row.name: row for row in Schedule.objects.all()}
    assert {name: (row.job, str(row.times), row.catch_up, row.in_code) for name, row in found.items()} == {
        "often": ("tests.blog.jobs:Plain", "every 0:01:00", "all", True),
        "nightly": ("tests.blog.jobs:resize", "0 3 * * * Europe/Paris", "latest", True),
        "tests.blog.jobs:Swallowing": ("tests.blog.jobs:Swallowing", "5 4 * * *", "latest", True),
    }
    now = database_now(connection)
    assert all(abs(row.since - seconds_of(now)) < 60 for row in found.values())
    assert not Schedule.objects.gone().exists()


def test_the_ticks_of_a_schedule_of_the_code_become_jobs_with_its_arguments(recurring, ticker, on_time, made):
    recurring(it={"schedule": every(FIVE), "job": "tests.blog.jobs:resize", "args": ["p"], "priority": -3})
    one = ticker()
    one.run()
    on_time()
    one.run()
    [job] = made()
    assert (job.name, job.priority) == ("resize", -3)
    assert '"args":["p"]' in job.payload


def test_a_restart_of_the_supervisor_changes_nothing(recurring, ticker, on_time, ticks):
    recurring(it={"schedule": every(FIVE)})
    ticker().run()
    tick = on_time()
    ticker().run()
    ticker().run()
    assert ticks() == [tick]
    assert Schedule.objects.get().since == tick


def test_a_schedule_with_new_times_does_not_catch_up_on_its_past(recurring, ticker, time, ticks):
    recurring(it={"schedule": every(86_400 * 30)})
    ticker().run()
    time.advance(3 * HOUR)
    recurring(it={"schedule": every(FIVE)})
    one = ticker()
    one.run()
    assert ticks() == []
    time.advance(timedelta(seconds=FIVE))
    one.run()
    assert len(ticks()) == 1


def test_a_changed_job_leaves_the_times_and_the_other_schedules_alone(recurring, ticker, time, schedule):
    schedule(name="made by an operator", every=timedelta(days=300))
    rarely = {"schedule": every(86_400 * 300)}
    recurring(it=rarely, other=rarely)
    ticker().run()
    since = Schedule.objects.get(name="it").since
    others = Schedule.objects.exclude(name="it").order_by("pk")
    before = list(others.values("name", "job", "every", "since"))
    time.advance(HOUR)
    recurring(it=rarely | {"job": "tests.blog.jobs:Sleepy", "catch_up": "none"}, other=rarely)
    ticker().run()
    row = Schedule.objects.get(name="it")
    assert (row.since, row.job, row.catch_up) == (since, "tests.blog.jobs:Sleepy", "none")
    assert list(others.values("name", "job", "every", "since")) == before


def test_two_versions_of_the_code_do_not_delete_the_schedules_of_each_other(
    recurring, ticker, on_time, ticks
):
    recurring(old={"schedule": every(FIVE)}, both={"schedule": every(FIVE)})
    old = ticker()
    recurring(new={"schedule": every(FIVE)}, both={"schedule": every(FIVE)})
    new = ticker()
    for supervisor in (old, new):
        supervisor.run()
    assert {*Schedule.objects.values_list("name", flat=True)} == {"old", "new", "both"}
    on_time()
    for supervisor in (new, old):
        supervisor.run()
    runs = ScheduleRun.objects.values_list("schedule__name", flat=True)
    assert sorted(runs) == ["both", "new", "old"]


def test_each_supervisor_follows_its_own_version_of_a_schedule(recurring, ticker, on_time, made):
    recurring(it={"schedule": every(FIVE), "args": ["old"]})
    old = ticker()
    recurring(it={"schedule": every(86_400 * 300), "args": ["new"]})
    new = ticker()
    for supervisor in (old, new):
        supervisor.run()
    on_time()
    new.run()
    assert made() == []
    old.run()
    assert ['"old"' in job.payload for job in made()] == [True]
    # The row shows what the supervisor that started last announces.
    assert str(Schedule.objects.get().times) == "every 300 days, 0:00:00"


def test_a_schedule_that_nobody_has_announced_for_a_lease_is_gone_until_it_is_announced_again(
    recurring, ticker, time, schedule
):
    schedule(name="made by an operator")
    recurring(it={"schedule": every(86_400 * 300)})
    one = ticker()
    one.run()
    time.advance(delayed.LEASE - timedelta(seconds=10))
    assert not Schedule.objects.gone().exists()
    time.advance(timedelta(seconds=11))
    assert [row.name for row in Schedule.objects.gone()] == ["it"]
    ticker().run()
    assert not Schedule.objects.gone().exists()


def test_a_supervisor_announces_only_the_schedules_of_its_own_code(recurring, ticker, time):
    for name in ("old", "new"):
        recurring(**{name: {"schedule": every(86_400 * 300)}})
        ticker().run()
    time.advance(delayed.LEASE + timedelta(seconds=1))
    ticker().run()
    assert [row.name for row in Schedule.objects.gone()] == ["old"]


def test_a_supervisor_announces_several_times_a_lease(recurring, ticker, time, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    recurring(it={"schedule": every(86_400 * 300)})
    one = ticker()
    for _ in range(20):
        one.run()
        assert not Schedule.objects.gone().exists()
        clock[0] += 15
        time.advance(timedelta(seconds=15))


def test_a_row_that_an_operator_has_deleted_is_written_again(recurring, ticker, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    recurring(it={"schedule": every(FIVE)}, other={"schedule": every(FIVE)})
    one = ticker()
    one.run()
    Schedule.objects.filter(name="it").delete()
    for _ in range(2):
        clock[0] += 15
        one.run()
    assert {*Schedule.objects.values_list("name", flat=True)} == {"it", "other"}


def test_two_supervisors_may_start_at_the_same_moment(recurring, ticker):
    recurring(it={"schedule": every(FIVE)}, other={"schedule": every(FIVE)})
    raced = []

    def other_first(execute, sql, *how):
        if sql.startswith("INSERT") and not raced:
            raced.append(sql)
            ticker().run()
        return execute(sql, *how)

    with connection.execute_wrapper(other_first):
        ticker().run()
    assert raced
    assert sorted(Schedule.objects.values_list("name", flat=True)) == ["it", "other"]


def test_an_operator_may_have_given_a_schedule_the_same_name(recurring, ticker, schedule):
    schedule(name="it")
    recurring(it={"schedule": every(FIVE)})
    ticker().run()
    assert sorted(Schedule.objects.values_list("name", "in_code")) == [("it", False), ("it", True)]


# Pauses.


def test_a_paused_schedule_makes_nothing_and_stays_paused(recurring, ticker, on_time, made):
    recurring(it={"schedule": every(FIVE)})
    ticker().run()
    [row] = Schedule.objects.all()
    assert pause([row.pk]) == 1
    assert pause([row.pk]) == 0
    for _ in range(3):
        on_time()
        ticker().run()
    recurring(it={"schedule": every(60)})
    ticker().run()
    assert made() == []
    assert Schedule.objects.get().paused


def test_a_pause_holds_for_a_supervisor_that_has_read_the_row_before(schedule, on_time, made):
    row = schedule()
    pause([row.pk])
    assert make_run(row, definition_of(row), moment_of(on_time())) is None
    assert made() == []


@pytest.mark.parametrize("catch_up", ["latest", "all"])
def test_after_a_pause_a_schedule_goes_on_with_its_next_tick(schedule, ticker, on_time, ticks, catch_up):
    row = schedule(catch_up=catch_up)
    pause([row.pk])
    on_time(others=10)
    assert resume([row.pk]) == 1
    assert resume([row.pk]) == 0
    one = ticker()
    one.run()
    assert ticks() == []
    tick = on_time()
    one.run()
    assert ticks() == [tick]


# Missed ticks.


@pytest.mark.parametrize(("missed", "caught_up"), [(1, 1), (7, 7), (130, 100)])
def test_catch_up_all_makes_jobs_of_at_most_a_hundred_missed_ticks(
    schedule, ticker, on_time, ticks, made, missed, caught_up
):
    schedule(catch_up="all")
    last = on_time(others=missed - 1)
    ticker().run()
    assert ticks() == [last - FIVE * number for number in reversed(range(caught_up))]
    assert [seconds_of(job.run_at) for job in made()] == ticks()


def test_catch_up_latest_makes_a_job_of_the_latest_missed_tick(
    schedule, ticker, on_time, time, ticks, caplog
):
    schedule()
    last = on_time(others=20)
    ticker().run()
    assert ticks() == [last]
    assert caplog.records == []
    missed = on_time(others=20)
    time.advance(2 * delayed.LEASE)
    for _ in range(2):
        ticker().run()
    assert ticks() == [last, missed]
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert f"clean has missed its tick of {moment_of(missed)}; its job is enqueued now" in record.getMessage()


def test_catch_up_none_makes_a_job_only_of_a_tick_that_is_slightly_late(
    schedule, ticker, on_time, time, ticks
):
    schedule(catch_up="none")
    on_time(others=20)
    time.advance(delayed.LEASE)
    ticker().run()
    assert ticks() == []
    tick = on_time()
    time.advance(delayed.LEASE / 2)
    ticker().run()
    assert ticks() == [tick]


# A year of virtual time.


@pytest.mark.parametrize(("zone", "at"), [("Europe/Paris", "30 2"), ("America/Santiago", "0 0")])
def test_a_year_of_days_with_clock_changes_makes_one_job_a_day(schedule, ticker, time, made, zone, at):
    row, one = schedule(cron=f"{at} * * *", zone=zone), ticker()
    began = database_now(connection)
    one.run()
    while (now := database_now(connection)) < began + timedelta(days=366):
        time.advance(next(row.times.after(now)) - now + timedelta(milliseconds=5))
        one.run()
    days = [job.run_at.astimezone(ZoneInfo(zone)).date() for job in made()]
    assert len(days) in (366, 367)
    assert days == [days[0] + timedelta(days=number) for number in range(len(days))]
    expected = takewhile(lambda tick: tick <= database_now(connection), row.times.after(began))
    assert [seconds_of(job.run_at) for job in made()] == [seconds_of(tick) for tick in expected]


def test_an_hourly_schedule_goes_on_through_a_clock_change_without_use_tz(settings, schedule, ticker, ticks):
    settings.USE_TZ, settings.TIME_ZONE = False, "Europe/Paris"
    connection.__dict__.pop("timezone", None)
    connection.__dict__.pop("timezone_name", None)
    try:
        row = schedule(cron="0 * * * *")
        with virtual_time() as time:
            change = datetime(2027, 10, 30, 12, tzinfo=ZoneInfo("Europe/Paris"))
            time.advance(change - database_now(connection))
            one = ticker()
            one.run()
            before = len(ticks())
            for _ in range(24):
                now = database_now(connection)
                time.advance(next(row.times.after(now)) - now + timedelta(milliseconds=5))
                one.run()
            found = ticks()[before:]
    finally:
        connection.__dict__.pop("timezone", None)
        connection.__dict__.pop("timezone_name", None)
    assert [later - earlier for earlier, later in pairwise(found)] == [3600] * 23


# Errors.


def test_a_schedule_that_cannot_make_its_job_is_reported_once_and_blocks_no_other(
    schedule, ticker, on_time, made, caplog
):
    broken, _ = schedule(name="broken", job="tests.blog.jobs:Absent"), schedule(name="whole")
    one = ticker()
    on_time()
    for _ in range(3):
        one.run()
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "The schedule broken cannot make its job: UnknownCode" in record.getMessage()
    assert len(made()) == 1
    # The tick is still due, but is not tried again at once.
    assert one.due_in > 5
    Schedule.objects.filter(pk=broken.pk).update(job="tests.blog.jobs:Plain")
    one.run()
    assert len(made()) == 2
    # A schedule that breaks again is reported again.
    Schedule.objects.filter(pk=broken.pk).update(job="tests.blog.jobs:Absent")
    on_time()
    one.run()
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 2


@pytest.mark.parametrize(
    "error", [ValueError("no"), IntegrityError("no"), OperationalError("no such table: x")]
)
def test_a_tick_is_tried_again_when_a_hook_raises(schedule, ticker, on_time, made, ticks, monkeypatch, error):
    def refuse(self):
        raise error

    schedule()
    monkeypatch.setattr(jobs.Plain, "before_enqueue", refuse)
    on_time()
    if isinstance(error, OperationalError):
        # It may be an error of the queue's database: the thread of the supervisor waits, and tries again.
        with pytest.raises(OperationalError):
            ticker().run()
    else:
        ticker().run()
    assert (made(), ticks()) == ([], [])
    monkeypatch.undo()
    ticker().run()
    assert len(made()) == 1


def test_a_tick_is_over_when_a_hook_vetoes_its_job(schedule, ticker, on_time, made, ticks, monkeypatch):
    schedule()
    monkeypatch.setattr(jobs.Plain, "before_enqueue", lambda self: False)
    tick = on_time()
    ticker().run()
    monkeypatch.undo()
    ticker().run()
    assert (made(), ticks()) == ([], [tick])
    assert ScheduleRun.objects.get().delayed_job_id is None


def test_the_job_of_a_tick_is_never_a_report(schedule, ticker, on_time, made):
    schedule()
    on_time()
    with reporting():
        ticker().run()
    [job] = made()
    assert job.extras == 0


@pytest.mark.parametrize("given", [{"DELAY_JOBS": False}, {"ENQUEUE": "on_commit"}, {"ENQUEUE": "immediate"}])
def test_the_job_of_a_tick_is_left_to_a_worker_whatever_the_settings_of_enqueues_are(
    settings, schedule, ticker, on_time, ticks, made, given, diary
):
    settings.DJANGO_DELAYED = given
    schedule()
    on_time()
    ticker().run()
    assert diary == []
    assert [ScheduleRun.objects.get().delayed_job_id] == [job.pk for job in made()]
