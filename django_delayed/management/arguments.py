"""The arguments that several commands share, from the command line or from call_command."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser
from django.utils.dateparse import parse_duration

from ..conf import CENTURY, duration


def seconds(text: str) -> timedelta:
    """A duration from the command line: seconds, or as "1:30:00". Raises ValueError."""
    try:
        span = parse_duration(text)
    except OverflowError:
        span = None
    if span is None or not timedelta(0) <= span <= CENTURY:
        raise ValueError(text)
    return span


def positive(text: str) -> int:
    """A whole number of at least 1 from the command line. Raises ValueError."""
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def names(text: str) -> tuple[str, ...]:
    """Names and patterns of queues from the command line, separated by commas.

    Raises ValueError if there is none, or one is a "!" with nothing or another behind it.
    """
    queues = tuple(name.strip() for name in text.split(",") if name.strip())
    if not queues or any(name == "!" or name.startswith("!!") for name in queues):
        raise ValueError(text)
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


def span_of(value: Any, name: str) -> timedelta:
    """The duration given with a flag, or to call_command, which also takes numbers and timedeltas."""
    return seconds(value) if isinstance(value, str) else duration(value, name)
