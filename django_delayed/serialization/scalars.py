"""Values that contain no others, such as numbers, texts and times, as JSON data and back."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import takewhile
from pathlib import Path
from typing import Any
from uuid import UUID

from django.utils.safestring import SafeString

from ..exceptions import SerializationError
from .zones import decode_zone, encode_zone

TYPE = "@type"
# Ints from here on are stored in hexadecimal: Python refuses to read long decimals.
BIG = 2**1024


def base_of(value: Any) -> type | None:
    """The scalar type that a value's class extends without adding state; None if there is none.

    The dates of tools that freeze the time of a test are an example.
    """
    base = next((cls for cls in type(value).__mro__ if cls in DUMP), None)
    added = takewhile(lambda cls: cls is not base, type(value).__mro__)
    has_state = getattr(value, "__dict__", None) or any(vars(cls).get("__slots__") for cls in added)
    return None if has_state else base


def text(value: str, depth: int = 0) -> str:
    """The text. Raises SerializationError for one that no database can store."""
    if "\0" in value:
        raise SerializationError("the text has a NUL character, which PostgreSQL cannot store")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise SerializationError(f"the text has a lone surrogate at {error.start}") from None
    return value


def _integer(value: int, depth: int) -> Any:
    return value if -BIG < value < BIG else {TYPE: "int", "value": hex(value)}


def _float(value: float, depth: int) -> float:
    if not math.isfinite(value):
        raise SerializationError(f"{value} is not a finite number")
    return value


def _decimal(value: Decimal, depth: int) -> Any:
    if not value.is_finite():
        raise SerializationError(f"{value!r} is not a finite number")
    return {TYPE: "decimal", "value": str(value)}


def _span(value: timedelta, depth: int) -> Any:
    return {TYPE: "timedelta", "value": [value.days, value.seconds, value.microseconds]}


def _moment(name: str) -> Callable[[Any, int], Any]:
    def dump(value: datetime | time, depth: int) -> Any:
        plain = value.replace(tzinfo=None, fold=0).isoformat()
        data = {TYPE: name, "value": plain, "zone": encode_zone(value.tzinfo)}
        return data | {"fold": 1} if value.fold else data

    return dump


def _from_moment(kind: Any) -> Callable[[Any], Any]:
    return lambda data: kind.fromisoformat(data["value"]).replace(
        tzinfo=decode_zone(data["zone"]), fold=data.get("fold", 0)
    )


# For each exact type, how a value becomes JSON data. The second argument is its depth in its container.
DUMP: dict[type, Callable[[Any, int], Any]] = {
    type(None): lambda value, depth: value,
    bool: lambda value, depth: value,
    int: _integer,
    float: _float,
    str: text,
    SafeString: lambda value, depth: {TYPE: "safe", "value": text(str(value))},
    bytes: lambda value, depth: {TYPE: "bytes", "value": base64.b64encode(value).decode("ascii")},
    datetime: _moment("datetime"),
    time: _moment("time"),
    date: lambda value, depth: {TYPE: "date", "value": value.isoformat()},
    timedelta: _span,
    Decimal: _decimal,
    UUID: lambda value, depth: {TYPE: "uuid", "value": str(value)},
    type(Path()): lambda value, depth: {TYPE: "path", "value": text(str(value))},
}
# For each name in the data, how it becomes the value again.
LOAD: dict[str, Callable[[Any], Any]] = {
    "int": lambda data: int(data["value"], 16),
    "safe": lambda data: SafeString(data["value"]),
    "bytes": lambda data: base64.b64decode(data["value"], validate=True),
    "datetime": _from_moment(datetime),
    "time": _from_moment(time),
    "date": lambda data: date.fromisoformat(data["value"]),
    "timedelta": lambda data: timedelta(*data["value"]),
    "decimal": lambda data: Decimal(data["value"]),
    "uuid": lambda data: UUID(data["value"]),
    "path": lambda data: Path(data["value"]),
}
