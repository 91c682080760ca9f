"""cron() and every(): which ticks they have, and what they refuse."""

import random
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ImproperlyConfigured
from django_delayed import cron, every
from django_delayed.features.recurring import schedules
from django_delayed.features.recurring.schedules import moment_of, seconds_of

PARIS = ZoneInfo("Europe/Paris")
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=365)


def local(zone, *when, fold=0):
    # In UTC, because Python never finds moments of two zones equal if one of them is ambiguous.
    return datetime(*when, tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


def ticks_of_year(times, start=NEW_YEAR):
    return list(takewhile(lambda tick: tick < start + YEAR, times.after(start - timedelta(seconds=1))))


@pytest.mark.parametrize(
    ("expression", "zone", "after", "ticks"),
    [
        ("0 3 * * *", "UTC", (2026, 5, 1, 3), [(2026, 5, 2, 3), (2026, 5, 3, 3)]),
        ("0 3 * * *", "Asia/Tokyo", (2026, 5, 1), [(2026, 5, 1, 18), (2026, 5, 2, 18)]),
        ("*/15 * * * *", "UTC", (2026, 5, 1, 0, 1), [(2026, 5, 1, 0, 15), (2026, 5, 1, 0, 30)]),
        ("0 9 * * MON", "UTC", (2026, 5, 1), [(2026, 5, 4, 9), (2026, 5, 11, 9)]),
        ("0 0 29 2 *", "UTC", (2026, 5, 1), [(2028, 2, 29), (2032, 2, 29)]),
        ("  0 0  L * * ", "UTC", (2026, 5, 1), [(2026, 5, 31), (2026, 6, 30)]),
    ],
)
def test_the_ticks_of_an_expression_are_those_of_cron_in_its_zone(expression, zone, after, ticks):
    found = cron(expression, zone=zone).after(datetime(*after, tzinfo=UTC))
    assert list(islice(found, len(ticks))) == [datetime(*tick, tzinfo=UTC) for tick in ticks]


def test_without_a_zone_an_expression_is_in_the_time_zone_of_the_settings(settings):
    settings.TIME_ZONE = "America/New_York"
    assert next(cron("0 3 * * *").after(NEW_YEAR)) == local("America/New_York", 2026, 1, 1, 3)


# In these zones, the clocks change at 2 or 3, at midnight, or by half an hour.
@pytest.mark.parametrize(
    "zone",
    ["Europe/Paris", "America/New_York", "Africa/Cairo", "America/Santiago", "Australia/Lord_Howe", "UTC"],
)
@pytest.mark.parametrize("at", ["0 0", "30 0", "45 1", "0 2", "15 2", "30 2", "0 3", "30 3", "30 23"])
def test_a_time_of_day_is_due_once_on_each_day_of_a_year_with_clock_changes(zone, at):
    minute, hour = at.split()
    days = [
        tick.astimezone(ZoneInfo(zone)).date()
        for tick in ticks_of_year(cron(f"{minute} {hour} * * *", zone=zone), local(zone, 2026, 1, 1))
    ]
    assert days == [date(2026, 1, 1) + timedelta(days=number) for number in range(365)]


def test_a_time_of_day_that_does_not_exist_is_due_when_the_gap_ends():
    [tick] = islice(cron("30 2 * * *", zone="Europe/Paris").after(local("Europe/Paris", 2026, 3, 29)), 1)
    assert tick == local("Europe/Paris", 2026, 3, 29, 3)


def test_a_time_of_day_that_exists_twice_is_due_the_first_time():
    times = cron("30 2 * * *", zone="Europe/Paris")
    first, following = islice(times.after(local("Europe/Paris", 2026, 10, 25)), 2)
    assert first == local("Europe/Paris", 2026, 10, 25, 2, 30)
    assert following == local("Europe/Paris", 2026, 10, 26, 2, 30)
    # The same from a moment in the second of these hours.
    assert next(times.after(local("Europe/Paris", 2026, 10, 25, 2, 10, fold=1))) == following


@pytest.mark.parametrize("zone", ["Europe/Paris", "Australia/Lord_Howe"])
def test_a_star_for_the_hour_follows_the_elapsed_time(zone):
    ticks = ticks_of_year(cron("*/30 * * * *", zone=zone))
    assert {later - earlier for earlier, later in pairwise(ticks)} == {timedelta(minutes=30)}


@pytest.mark.parametrize("expression", ["0 3 * * *", "*/7 * * * *", "30 2 1 * *", "0 0 29 2 *"])
def test_last_gives_the_last_of_the_ticks_that_after_gives(expression):
    times, chance = cron(expression, zone="Europe/Paris"), random.Random(expression)
    for minutes in [0, 1, 90, 3_000, 3_000, 60_000, 700_000]:
        since = NEW_YEAR + timedelta(minutes=chance.randrange(500_000))
        until = since + timedelta(minutes=minutes)
        ticks = list(takewhile(lambda tick, until=until: tick <= until, times.after(since)))
        for most in (1, 3, 100):
            assert times.last(since, until, most) == ticks[-most:]


def test_the_last_tick_of_years_of_minutes_is_found_without_going_through_all(monkeypatch):
    seen = []

    class Counted(schedules.CronSim):
        def __next__(self):
            seen.append(tick := super().__next__())
            return tick

    monkeypatch.setattr(schedules, "CronSim", Counted)
    assert cron("* * * * *").last(NEW_YEAR - 10 * YEAR, NEW_YEAR, 1) == [NEW_YEAR]
    assert len(seen) < 500


def test_an_interval_is_counted_from_1970_in_utc():
    assert list(islice(every(timedelta(minutes=5)).after(NEW_YEAR), 2)) == [
        NEW_YEAR + timedelta(minutes=5),
        NEW_YEAR + timedelta(minutes=10),
    ]
    assert (
        next(every(7 * 86400).after(datetime(2026, 5, 1, tzinfo=UTC))).weekday() == date(1970, 1, 1).weekday()
    )
    assert next(every(3600).after(local("Europe/Paris", 2026, 5, 1, 12, 30))) == local(
        "Europe/Paris", 2026, 5, 1, 13
    )


@pytest.mark.parametrize("most", [1, 2, 100])
def test_last_gives_the_last_ticks_of_an_interval(most):
    times = every(60)
    assert times.last(NEW_YEAR, NEW_YEAR, most) == []
    assert times.last(NEW_YEAR, NEW_YEAR + timedelta(seconds=59), most) == []
    assert times.last(NEW_YEAR, NEW_YEAR + timedelta(seconds=60), most) == [NEW_YEAR + timedelta(seconds=60)]
    assert times.last(NEW_YEAR - 10 * YEAR, NEW_YEAR, most)[-1] == NEW_YEAR
    assert len(times.last(NEW_YEAR - 10 * YEAR, NEW_YEAR, most)) == most
    long = every(timedelta(days=36_525))
    assert long.last(NEW_YEAR - YEAR, NEW_YEAR, most) == []
    assert long.last(NEW_YEAR - 100 * YEAR, NEW_YEAR, most) == [datetime(1970, 1, 1, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("0 0 3 * * *", "every(timedelta(seconds=…))"),
        ("@daily", "five fields"),
        ("* * * * * " * 100, "five fields"),
        ("60 * * * *", "Bad minute"),
        ("* 24 * * *", "Bad hour"),
        ("a b c d e", "Bad"),
        ("* * * * 8", "Bad day-of-week"),
        ("*/0 * * * *", "Bad minute"),
        ("5-1 * * * *", "Bad minute"),
        ("²L * * * ²L", "Bad"),
        ("* * * * L", "Bad"),
        ("\0 * * * *", "Bad"),
        (f"{'1,' * 100} * * * *", "Bad minute"),
        ("0 0 30 2 *", "Bad day-of-month"),
        ("0 0 31 4,6,9,11 *", "Bad day-of-month"),
    ],
)
def test_an_invalid_expression_is_refused_with_the_reason(expression, why):
    with pytest.raises(ValueError, match=r"(?s)\.$") as raised:
        cron(expression)
    assert why in str(raised.value)


def test_an_expression_that_is_never_due_is_refused(monkeypatch):
    class Never:
        def __init__(self, *_):
            pass

        def __iter__(self):
            return iter(())

    monkeypatch.setattr(schedules, "CronSim", Never)
    with pytest.raises(ValueError, match="is never due"):
        cron("0 0 1 1 *")


@pytest.mark.parametrize("expression", [None, 5, b"* * * * *", ["*"] * 5, timedelta(1), time(3)])
def test_an_expression_that_is_not_a_text_is_refused(expression):
    with pytest.raises(TypeError, match="cron\\(\\) takes an expression"):
        cron(expression)


@pytest.mark.parametrize(
    "zone",
    ["", "Mars/Olympus", "Europe", "../../etc/passwd", "/etc/passwd", "Europe/Paris\0", "x" * 100_000, "é"],
)
def test_an_unknown_zone_is_refused(zone):
    with pytest.raises(ValueError, match="There is no time zone"):
        cron("0 3 * * *", zone=zone)


@pytest.mark.parametrize("zone", [5, b"UTC", UTC, PARIS, ["UTC"]])
def test_a_zone_that_is_not_a_text_is_refused(zone):
    with pytest.raises(TypeError, match="the name of a time zone"):
        cron("0 3 * * *", zone=zone)


@pytest.mark.parametrize(
    "interval", [0, -1, timedelta(0), 0.5, timedelta(seconds=1.5), timedelta(days=40_000), float("inf")]
)
def test_an_interval_out_of_range_or_with_fractions_of_a_second_is_refused(interval):
    with pytest.raises(ValueError, match="every"):
        every(interval)


@pytest.mark.parametrize("interval", [None, "5 minutes", True, float, [5]])
def test_an_interval_that_is_neither_a_timedelta_nor_a_number_is_refused(interval):
    with pytest.raises(TypeError, match="every"):
        every(interval)


def test_without_cronsim_cron_says_what_to_install_and_every_works(monkeypatch):
    monkeypatch.setattr(schedules, "CronSim", None)
    with pytest.raises(ImproperlyConfigured, match=r"pip install 'django-delayed\[cron\]'"):
        cron("0 3 * * *")
    assert next(every(60).after(NEW_YEAR)) == NEW_YEAR + timedelta(seconds=60)


def test_seconds_identify_a_moment_in_any_zone():
    first, second = (datetime(2026, 10, 25, 2, 30, tzinfo=PARIS, fold=fold) for fold in (0, 1))
    assert seconds_of(second) - seconds_of(first) == 3600
    assert moment_of(seconds_of(second)).astimezone(PARIS).fold == 1
