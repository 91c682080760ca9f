"""The types of settings and options. One function checks each type, and says what is wrong."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

# Every database can add it to its clock, and subtract it.
CENTURY = timedelta(days=36_525)
# The numbers that an integer column holds on every database.
INTEGERS = range(-(2**31), 2**31)
# A class or function as a row names it.
CODE_NAME = re.compile(r"[\w.]+:[\w.]+")
# Which of the ticks that a schedule has missed become jobs.
CATCH_UP = ("latest", "none", "all")
# The tokens that a header "Authorization: Bearer …" may have. A shorter one could be guessed.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,}")
# The characters that stand for others in a pattern of names.
WILDCARDS = frozenset("*?[")


def duration(value: timedelta | float, name: str) -> timedelta:
    """A timedelta >= 0, from a timedelta or seconds. Raises TypeError or ValueError about `name`."""
    span = _timedelta(value, name)
    if span < timedelta(0):
        raise ValueError(f"{name} must not be negative, got {value!r}.")
    return span


def from_now(value: timedelta | float, name: str) -> timedelta:
    """As `duration`, but a negative one means now, as a run_at in the past does."""
    return max(_timedelta(value, name), timedelta(0))


def _timedelta(value: timedelta | float, name: str) -> timedelta:
    if isinstance(value, bool) or not isinstance(value, (timedelta, int, float)):
        raise TypeError(f"{name} must be a timedelta or a number of seconds, not {value!r}.")
    try:
        return value if isinstance(value, timedelta) else timedelta(seconds=value)
    except (OverflowError, ValueError):
        raise ValueError(f"{name} is out of range: {value!r}.") from None


def integer(value: Any, name: str) -> int:
    """A whole number that an integer column holds. Raises TypeError or ValueError about `name`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {value!r}.")
    if value not in INTEGERS:
        raise ValueError(f"{name} must fit into 32 bits, got {value}.")
    return int(value)


def queue_name(value: Any, name: str) -> str:
    """A name that a queue may have. Raises TypeError or ValueError about `name`."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {value!r}.")
    if not value or len(value) > 255 or not value.isprintable():
        raise ValueError(f"{name} must be 1 to 255 printable characters, not {value[:300]!r}.")
    if value != value.strip() or "," in value:
        # No worker could be told to serve it: --queues separates names by commas, and strips them.
        raise ValueError(f"{name} must have no comma, and no space at its ends: {value!r}.")
    if value.startswith("!") or not WILDCARDS.isdisjoint(value):
        # In --queues it would be a pattern, and name other queues too.
        raise ValueError(f"{name} must have none of * ? [ and no ! at its start, as patterns do: {value!r}.")
    return str(value)


def bounded_duration(value: Any, name: str) -> timedelta:
    """As `duration`, but at most a century."""
    if (length := duration(value, name)) > CENTURY:
        raise ValueError(f"{name} must be at most {CENTURY.days:,} days.")
    return length


def positive_duration(value: Any, name: str) -> timedelta:
    """As `duration`, but > 0 and at most a century."""
    if not (span := bounded_duration(value, name)):
        raise ValueError(f"{name} must be longer than 0 seconds.")
    return span


def count(value: Any, name: str) -> int:
    """A whole number of at least 1 that an integer column holds. Raises TypeError or ValueError."""
    if (number := integer(value, name)) < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")
    return number


def token(value: Any, name: str) -> str:
    """A secret that a header can have. Raises TypeError or ValueError, without the secret in the message."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}.")
    if not _TOKEN.fullmatch(value):
        raise ValueError(
            f"{name} must be at least 16 characters, each a letter, a digit or one of . _ ~ + / = -."
        )
    return value
