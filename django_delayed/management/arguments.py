"""The arguments that several commands share, from the command line or from call_command."""

from __future__ import annotations

from argparse import Action, ArgumentError, ArgumentTypeError
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime, parse_duration

from ..conf import CENTURY, duration


class UsageError(CommandError):
    """Flags or values that a command cannot take: it exits with 2, as argparse does."""

    def __init__(self, message: str) -> None:
        super().__init__(message, returncode=2)


class Once(Action):
    """A flag that is given once: a second value would silently win over the first."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        """Take the value."""
        if getattr(namespace, self.dest, None) is not None:
            raise ArgumentError(self, "give it once")
        setattr(namespace, self.dest, values)


class Invalid(ArgumentTypeError, ValueError):
    """A value that was given is invalid: argparse shows the message; others catch a ValueError."""


def seconds(text: str) -> timedelta:
    """A duration from the command line: seconds, or as "1:30:00". Raises Invalid."""
    try:
        span = parse_duration(text)
    except OverflowError:
        span = timedelta.max
    if span is None:
        raise Invalid(f"{text!r} is not a duration, such as 90 (seconds) or 1:30:00.")
    if not timedelta(0) <= span <= CENTURY:
        raise Invalid(f"{text!r} is out of range: a duration is 0 to {CENTURY.days:,} days.")
    return span


def positive(text: str) -> int:
    """A whole number of at least 1 from the command line. Raises Invalid."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise Invalid(f"{text!r} is not a whole number of at least 1.")
    return number


def moment(text: str) -> datetime:
    """A date and a time from the command line, in the current time zone unless it names another.

    A date alone is its first moment. Raises ArgumentTypeError.
    """
    return _moment(text, time.min)


def end_of(text: str) -> datetime:
    """As `moment`; a date alone is its last moment."""
    return _moment(text, time.max)


def moment_of(value: Any, parse: Callable[[str], datetime]) -> datetime:
    """The moment given with a flag, or to call_command, which also takes datetimes. Raises CommandError."""
    try:
        return value if isinstance(value, datetime) else parse(str(value))
    except ArgumentTypeError as error:
        raise UsageError(str(error)) from None


def names(text: str) -> tuple[str, ...]:
    """Names and patterns of queues from the command line, separated by commas.

    Raises Invalid if there is none, or one is a "!" with nothing or another behind it.
    """
    queues = tuple(name.strip() for name in text.split(",") if name.strip())
    if not queues or any(name == "!" or name.startswith("!!") for name in queues):
        raise Invalid(f"{text!r} names no queues such as mail,tweets or mail_* or '!slow'.")
    return queues


def add_queues(parser: CommandParser, help: str) -> None:
    """Add the flag for names and patterns of queues, the same for every command."""
    parser.add_argument(
        "--queue",
        "--queues",
        dest="queues",
        type=names,
        action="append",
        metavar="A,B",
        help=f"{help}: names, patterns (mail_*), all but some (!slow); may be given several times.",
    )


def queues_of(options: dict[str, Any]) -> tuple[str, ...]:
    """The names given with that flag, or to call_command as "mail", "mail,index" or a list."""
    given = options["queues"] or ()
    groups = [given] if isinstance(given, str) else given
    parsed = (names(group) if isinstance(group, str) else group for group in groups)
    return tuple(dict.fromkeys(name for group in parsed for name in group))


def require_order(queues: Sequence[str]) -> None:
    """Raise CommandError for queues that --in-order cannot put in an order: none, or exceptions only."""
    if all(name.startswith("!") for name in queues):
        raise UsageError("--in-order needs queues, by names or patterns in the order to serve them.")


def span_of(value: Any, name: str) -> timedelta:
    """The duration given with a flag, or to call_command, which also takes numbers and timedeltas."""
    return seconds(value) if isinstance(value, str) else duration(value, name)


def _moment(text: str, alone: time) -> datetime:
    try:
        day = parse_date(text)
        found = datetime.combine(day, alone) if day else parse_datetime(text)
    except ValueError:
        found = None
    if found is None or (timezone.is_aware(found) and not settings.USE_TZ):
        raise ArgumentTypeError(
            f"{text!r} is not a date, with or without a time, such as 2026-03-10 or 2026-03-10 14:30."
        )
    if timezone.is_naive(found) and settings.USE_TZ:
        found = timezone.make_aware(found)
    try:
        # The first hours of the year 1 and the last ones of 9999 may not exist in UTC.
        found.astimezone(UTC)
    except OverflowError:
        raise ArgumentTypeError(f"{text!r} is out of range.") from None
    return found
