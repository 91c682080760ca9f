"""cron() and every(): the ticks of a schedule, computed without a database."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import takewhile
from zoneinfo import ZoneInfo

from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from ...conf import positive_duration

try:
    from cronsim import CronSim, CronSimError
except ImportError:
    # cronsim is an extra; every() needs no library.
    CronSim = None  # type: ignore[assignment,misc]

SECOND = timedelta(seconds=1)
LONGEST_EXPRESSION = 255
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# How far back to look for the last ticks of an expression, one span after the other: most expressions have
# ticks in the first spans, and a walk over the minutes of a year takes seconds.
SPANS = (timedelta(hours=2), timedelta(days=2), timedelta(days=35), timedelta(days=400))


@dataclass(frozen=True)
class Cron:
    """The ticks of a cron expression in a time zone. Made by `cron`, which checks both."""

    expression: str
    zone: str = ""

    def __str__(self) -> str:
        return f"{self.expression} {self.zone}".rstrip()

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The ticks after an aware moment, in UTC. Ends when no tick is found for 50 years."""
        last = moment.astimezone(UTC)
        for found in CronSim(self.expression, moment.astimezone(self._zone)):
            tick = found.astimezone(UTC)
            # When an hour comes twice, a time of day is due in the first one only.
            if tick > last:
                yield tick
                last = tick

    def last(self, since: datetime, until: datetime, most: int) -> list[datetime]:
        """The last ticks after `since` and up to `until`, at most so many."""
        found: list[datetime] = []
        for span in SPANS:
            start = max(since, until - span)
            found = _last_of(self.after(start), until, most)
            if start == since or len(found) == most:
                return found
        return _last_of(self.after(since), until, most)

    @property
    def _zone(self) -> tzinfo:
        return ZoneInfo(self.zone) if self.zone else timezone.get_default_timezone()


@dataclass(frozen=True)
class Every:
    """Ticks at equal distances, counted from 1970-01-01 00:00 UTC. Made by `every`, which checks its value.

    All processes compute the same ticks.
    """

    interval: timedelta

    def __str__(self) -> str:
        return f"every {self.interval}"

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The ticks after an aware moment, in UTC."""
        number = self._number_at(moment)
        while True:
            number += 1
            yield EPOCH + number * self.interval

    def last(self, since: datetime, until: datetime, most: int) -> list[datetime]:
        """The last ticks after `since` and up to `until`, at most so many."""
        end = self._number_at(until) + 1
        first = max(self._number_at(since) + 1, end - most)
        return [EPOCH + number * self.interval for number in range(first, end)]

    def _number_at(self, moment: datetime) -> int:
        """The number of the last tick up to the moment."""
        return (moment.astimezone(UTC) - EPOCH) // self.interval


Times = Cron | Every


def cron(expression: str, *, zone: str | None = None) -> Cron:
    """When a job recurs, as a cron expression of five fields: minute, hour, day, month, day of the week.

    `zone` is the name of a time zone, such as "Europe/Paris"; without it, TIME_ZONE. A time of day that does
    not exist on the day of a clock change comes as soon as the gap ends, and one that exists twice comes
    once. An hour that begins with `*` follows the real time. Needs cronsim, the extra `cron`.

    Raises TypeError or ValueError for what is no expression, has no future tick, or is no zone, and
    ImproperlyConfigured without cronsim.
    """
    times = Cron(_expression(expression), "" if zone is None else _zone_name(zone))
    try:
        next(Cron(times.expression, "UTC").after(datetime.now(UTC)))
    except CronSimError as error:
        raise ValueError(f"{expression!r} is not a cron expression: {error}.") from None
    except StopIteration:
        raise ValueError(f"{expression!r} is never due: no day of the next 50 years fits it.") from None
    return times


def every(interval: timedelta | float) -> Every:
    """When a job recurs, as an interval of whole seconds: a timedelta or a number of seconds.

    The ticks are counted from 1970-01-01 00:00 UTC: `every(3600)` is due at each full hour, and
    `every(86400)` at midnight UTC. For a time of day in your zone, write cron().

    Raises TypeError or ValueError.
    """
    span = positive_duration(interval, "every()")
    if span % SECOND:
        raise ValueError(f"every() takes whole seconds, not {span!r}.")
    return Every(span)


def seconds_of(moment: datetime) -> int:
    """The whole seconds from 1970-01-01 00:00 UTC to an aware moment; no time zone changes them."""
    return (moment - EPOCH) // SECOND


def moment_of(seconds: int) -> datetime:
    """The moment so many seconds after 1970-01-01 00:00 UTC, in UTC."""
    return EPOCH + timedelta(seconds=seconds)


def _expression(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f'cron() takes an expression such as "0 3 * * *", not {value!r}.')
    fields = value.split()
    if len(fields) != 5 or len(value) > LONGEST_EXPRESSION:
        raise ValueError(
            'A cron expression has five fields, as in "0 3 * * *": minute, hour, day, month and day of the'
            f" week. This one has {len(fields)}: {value[:LONGEST_EXPRESSION]!r}. For several times a minute,"
            " write every(timedelta(seconds=…))."
        )
    if CronSim is None:
        raise ImproperlyConfigured("cron() needs cronsim: pip install 'django-delayed[cron]'.")
    return " ".join(fields)


def _zone_name(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f'zone must be the name of a time zone, such as "Europe/Paris", not {value!r}.')
    try:
        # OSError for the name of a folder, such as "Europe".
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"There is no time zone {value[:LONGEST_EXPRESSION]!r}.") from None
    return value


def _last_of(ticks: Iterator[datetime], until: datetime, most: int) -> list[datetime]:
    return list(deque(takewhile(lambda tick: tick <= until, ticks), maxlen=most))
