"""Python values as JSON and back: exactly, or refused. A model instance is stored as a reference."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import models
from django.utils.functional import Promise
from django.utils.safestring import SafeString

from ..exceptions import DeserializationError, SerializationError
from . import names, records
from .context import decode_zone, encode_zone

TYPE = "@type"
# Levels of nesting; far from where Python's own recursion ends.
DEEPEST = 100
# Ints from here on are stored in hexadecimal: Python refuses to read long decimals.
BIG = 2**1024

_dump: dict[type, Callable[[Any, int], Any]] = {}
_load: dict[str, Callable[[Any], Any]] = {}


def register_type(
    cls: type, dump: Callable[[Any], Any], load: Callable[[Any], Any], name: str | None = None
) -> None:
    """Make instances of exactly `cls` serializable.

    `dump` returns a serializable value; `load` rebuilds the object from it. `name` is what the rows call the
    type, by default "module.ClassName". Raises ValueError when the name or the class is registered already.
    """
    name = name or f"{cls.__module__}.{cls.__qualname__}"
    if name in _load or cls in _dump:
        raise ValueError(f"{name} is registered already.")
    _dump[cls] = lambda value, depth: {TYPE: name, "value": encode(dump(value), depth + 1)}
    _load[name] = lambda data: load(decode(data["value"]))


def to_json(value: Any) -> str:
    """Already encoded data as ASCII text."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def from_json(text: str) -> Any:
    """The data in a text that `to_json` wrote. Raises DeserializationError when it is not that."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DeserializationError(f"The payload is not JSON: {error}") from error


def encode(value: Any, depth: int = 0) -> Any:
    """The value as JSON data. Raises SerializationError for a value that could not be rebuilt exactly."""
    if depth > DEEPEST:
        raise SerializationError(f"it is nested more than {DEEPEST} levels deep, or contains itself")
    if dump := _dump.get(type(value)):
        return dump(value, depth)
    if isinstance(value, models.Model):
        return _dump_record(value)
    # A lazy string has the methods of str; a lazy number has not.
    if isinstance(value, Promise) and hasattr(type(value), "isidentifier"):
        return encode(str(value), depth)
    if isinstance(value, Enum):
        return _dump_enum(value)
    if isinstance(value, type) and issubclass(value, models.Model):
        return {TYPE: "model", "value": records.label_of(value)}
    raise SerializationError(
        f"a {type(value).__module__}.{type(value).__qualname__} cannot be serialized; pass something simpler,"
        " or register its type with django_delayed.register_type()"
    )


def encode_call(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call as JSON data. Raises SerializationError that names the argument."""
    return {
        "args": [_encode_argument(number, value) for number, value in enumerate(args, 1)],
        "kwargs": {name: _encode_argument(name, value) for name, value in kwargs.items()},
    }


def decode_call(payload: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments that `encode_call` wrote. Raises as `decode` does."""
    args, kwargs = payload.get("args"), payload.get("kwargs")
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise DeserializationError("The payload has no arguments.")
    return decode(args), {name: decode(value) for name, value in kwargs.items()}


def _encode_argument(label: Any, value: Any) -> Any:
    try:
        if isinstance(label, str):
            _string(label, 0)
        return encode(value)
    except SerializationError as error:
        raise SerializationError(f"argument {label!r}: {error}.") from error


def decode(data: Any) -> Any:
    """The value that `encode` wrote. Raises DeserializationError, or RecordNotFound for a lost instance."""
    if isinstance(data, list):
        return [decode(item) for item in data]
    if not isinstance(data, dict):
        return data
    if TYPE not in data:
        return {key: decode(item) for key, item in data.items()}
    load = _load.get(data[TYPE]) if isinstance(data[TYPE], str) else None
    if load is None:
        raise DeserializationError(f"The payload has a value of the unknown type {data[TYPE]!r}.")
    try:
        return load(data)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise DeserializationError(f"The payload has a broken {data[TYPE]}: {error!r}") from error


def _integer(value: int, depth: int) -> Any:
    return value if -BIG < value < BIG else {TYPE: "int", "value": hex(value)}


def _float(value: float, depth: int) -> float:
    if not math.isfinite(value):
        raise SerializationError(f"{value} is not a finite number")
    return value


def _string(value: str, depth: int) -> str:
    if "\0" in value:
        raise SerializationError("the text has a NUL character, which PostgreSQL cannot store")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise SerializationError(f"the text has a lone surrogate at {error.start}") from None
    return value


def _decimal(value: Decimal, depth: int) -> Any:
    if not value.is_finite():
        raise SerializationError(f"{value!r} is not a finite number")
    return {TYPE: "decimal", "value": str(value)}


# Containers


def _list(value: list[Any], depth: int) -> list[Any]:
    return [encode(item, depth + 1) for item in value]


def _set(value: set[Any] | frozenset[Any], depth: int) -> Any:
    items = sorted((encode(item, depth + 1) for item in value), key=to_json)
    return {TYPE: type(value).__name__, "value": items}


def _dict(value: dict[Any, Any], depth: int) -> Any:
    for key in value:
        if type(key) is not str:
            raise SerializationError(f"the keys of a dict must be of type str, not {type(key).__name__}")
    items = {_string(key, depth): encode(item, depth + 1) for key, item in value.items()}
    return {TYPE: "dict", "value": list(items.items())} if TYPE in items else items


# Times


def _span(value: timedelta, depth: int) -> Any:
    return {TYPE: "timedelta", "value": [value.days, value.seconds, value.microseconds]}


def _moment(value: datetime | time, depth: int) -> Any:
    plain = value.replace(tzinfo=None, fold=0).isoformat()
    data = {TYPE: type(value).__name__, "value": plain, "zone": encode_zone(value.tzinfo)}
    return data | {"fold": 1} if value.fold else data


def _from_moment(kind: Any) -> Callable[[Any], Any]:
    return lambda data: kind.fromisoformat(data["value"]).replace(
        tzinfo=decode_zone(data["zone"]), fold=data.get("fold", 0)
    )


def _dump_record(value: models.Model) -> Any:
    label, pk, db = records.reference(value)
    return {TYPE: "record", "model": label, "pk": encode(pk), "db": db}


def _dump_enum(value: Enum) -> Any:
    member = encode(value.value) if isinstance(value, Flag) else value.name
    return {TYPE: "enum", "class": names.name_of(type(value)), "value": member}


def _load_enum(data: Any) -> Any:
    cls = names.resolve(data["class"])
    if not (isinstance(cls, type) and issubclass(cls, Enum)):
        raise DeserializationError(f"{data['class']} is not an Enum.")
    return cls(decode(data["value"])) if issubclass(cls, Flag) else cls[data["value"]]


_dump.update(
    {
        type(None): lambda value, depth: value,
        bool: lambda value, depth: value,
        int: _integer,
        float: _float,
        str: _string,
        SafeString: lambda value, depth: {TYPE: "safe", "value": _string(str(value), depth)},
        bytes: lambda value, depth: {TYPE: "bytes", "value": base64.b64encode(value).decode("ascii")},
        list: _list,
        tuple: lambda value, depth: {TYPE: "tuple", "value": _list(value, depth)},
        set: _set,
        frozenset: _set,
        dict: _dict,
        datetime: _moment,
        time: _moment,
        date: lambda value, depth: {TYPE: "date", "value": value.isoformat()},
        timedelta: _span,
        Decimal: _decimal,
        UUID: lambda value, depth: {TYPE: "uuid", "value": str(value)},
        type(Path()): lambda value, depth: {TYPE: "path", "value": _string(str(value), depth)},
    }
)
_load.update(
    {
        "int": lambda data: int(data["value"], 16),
        "safe": lambda data: SafeString(data["value"]),
        "bytes": lambda data: base64.b64decode(data["value"], validate=True),
        "tuple": lambda data: tuple(decode(data["value"])),
        "set": lambda data: set(decode(data["value"])),
        "frozenset": lambda data: frozenset(decode(data["value"])),
        "dict": lambda data: {key: decode(item) for key, item in data["value"]},
        "datetime": _from_moment(datetime),
        "time": _from_moment(time),
        "date": lambda data: date.fromisoformat(data["value"]),
        "timedelta": lambda data: timedelta(*data["value"]),
        "decimal": lambda data: Decimal(data["value"]),
        "uuid": lambda data: UUID(data["value"]),
        "path": lambda data: Path(data["value"]),
        "model": lambda data: records.model_of(data["value"]),
        "record": lambda data: records.fetch(data["model"], decode(data["pk"]), data["db"]),
        "enum": _load_enum,
    }
)
