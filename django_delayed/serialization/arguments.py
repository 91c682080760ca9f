"""Python values as JSON and back: exactly, or refused. A model instance is stored as a reference."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, Flag
from functools import partial
from typing import Any

from django.db import models
from django.utils.functional import Promise

from ..exceptions import DelayedError, DeserializationError, SerializationError, UnknownType
from . import names, records, refusals, scalars
from .scalars import TYPE

# Levels of nesting, far below Python's own limit of recursion.
DEEPEST = 100
# Levels of JSON that these take at most, each as pairs in a list in a dict.
DEEPEST_DATA = 4 * DEEPEST
_encoder = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))
_dump: dict[type, Callable[[Any, int], Any]] = {}
_load: dict[str, Callable[[Any], Any]] = {}


def register_type(
    cls: type, dump: Callable[[Any], Any], load: Callable[[Any], Any], name: str | None = None
) -> None:
    """Make instances of exactly `cls` serializable.

    `dump` returns a serializable value; `load` rebuilds the object from it. `name` is what the rows call the
    type, by default "module.ClassName". After an error of `load` the job is tried again, as after one of its
    own. Raises ValueError when the name or the class is registered already.
    """
    name = name or f"{cls.__module__}.{cls.__qualname__}"
    if name in _load or cls in _dump:
        raise ValueError(f"{name} is registered already.")
    _dump[cls] = lambda value, depth: {TYPE: name, "value": encode(dump(value), depth + 1)}
    _load[name] = lambda data: load(decode(data.get("value")))


def to_json(value: Any) -> str:
    """Already encoded data as ASCII text."""
    return _encoder.encode(value)


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
    # A lazy string has the methods of str; a lazy number does not have them.
    if isinstance(value, Promise) and hasattr(type(value), "isidentifier"):
        return encode(str(value), depth)
    if isinstance(value, Enum):
        return _dump_enum(value)
    if isinstance(value, type) and issubclass(value, models.Model):
        return {TYPE: "model", "value": records.label_of(value)}
    base = scalars.base_of(value)
    data = None if base is None else scalars.DUMP[base](value, depth)
    if data is None or not _leads_back(data, value):
        raise SerializationError(refusals.refusal(value))
    return data


def encode_as(label: str, value: Any) -> Any:
    """As `encode`; the error has the label of the value, and says where the refused part is in it."""
    try:
        return encode(value)
    except SerializationError as error:
        place = refusals.place_in(value, _is_refused, DEEPEST)
        raise SerializationError(f"{label}, {place}: {error}" if place else f"{label}: {error}") from error


def encode_call(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call as JSON data. Raises SerializationError that names the argument."""
    return {
        "args": [encode_as(f"argument {number}", value) for number, value in enumerate(args, 1)],
        "kwargs": {
            encode_as("the name of an argument", name): encode_as(f"argument {name!r}", value)
            for name, value in kwargs.items()
        },
    }


def decode_call(payload: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments that `encode_call` wrote. Raises as `decode` does."""
    args, kwargs = payload.get("args"), payload.get("kwargs")
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise DeserializationError("The payload has no arguments.")
    return decode(args), {name: decode(value) for name, value in kwargs.items()}


def _is_refused(value: Any) -> bool:
    try:
        encode(value)
    except SerializationError:
        return True
    return False


def _leads_back(data: Any, value: Any) -> bool:
    try:
        return bool(decode(from_json(to_json(data))) == value)
    except Exception:
        # The class of the value may raise anything when it is compared.
        return False


def decode(data: Any) -> Any:
    """The value that `encode` wrote.

    Raises DeserializationError for data that `encode` does not write, RecordNotFound for a lost instance, and
    UnknownType for a type that this process has not registered.
    Errors of the project's own code, of a model or of a registered type, are raised as they are.
    """
    if isinstance(data, list):
        return [decode(item) for item in data]
    if not isinstance(data, dict):
        return data
    if TYPE not in data:
        return {key: decode(item) for key, item in data.items()}
    load = _load.get(data[TYPE]) if isinstance(data[TYPE], str) else None
    if load is None:
        raise _unknown_type(data[TYPE])
    return load(data)


def _unknown_type(name: Any) -> DelayedError:
    if not isinstance(name, str):
        return DeserializationError(f"The payload has a value of type {name!r}, which is not a name.")
    return UnknownType(
        f"The payload has a value of the unknown type {name!r}. If it is one of yours, call register_type()"
        " where workers run it too: in models.py or in AppConfig.ready()."
    )


def is_too_deep(data: Any, deepest: int = DEEPEST_DATA) -> bool:
    """Whether JSON data has more levels than `deepest`, by default the most that `encode` writes."""
    level = [data]
    for _ in range(deepest):
        lists = (list(item.values()) if isinstance(item, dict) else item for item in level)
        level = [item for items in lists if isinstance(items, list) for item in items]
        if not level:
            return False
    return True


# Containers


def _list(value: list[Any], depth: int) -> list[Any]:
    return [encode(item, depth + 1) for item in value]


def _set(value: set[Any] | frozenset[Any], depth: int) -> Any:
    items = sorted((encode(item, depth + 1) for item in value), key=to_json)
    return {TYPE: type(value).__name__, "value": items}


def _dict(value: dict[Any, Any], depth: int) -> Any:
    for key in value:
        if type(key) is not str:
            kind = type(key).__name__
            raise SerializationError(f"the keys of a dict must be of type str, not {kind}; write str(…)")
    items = {scalars.text(key): encode(item, depth + 1) for key, item in value.items()}
    return {TYPE: "dict", "value": list(items.items())} if TYPE in items else items


# What the project defines


def _dump_record(value: models.Model) -> Any:
    label, pk, db = records.reference(value)
    try:
        key = {"pk": encode(pk)}
    except SerializationError:
        # Not type(): request.user is a lazy stand-in for a user.
        key = {"key": [encode(part) for part in records.key_as_text(value.__class__, pk)]}
    return {TYPE: "record", "model": label, **key, "db": db}


def _load_record(data: Any) -> models.Model:
    model = records.model_of(data.get("model"))
    pk = records.key_from_text(model, data["key"]) if "key" in data else decode(data.get("pk"))
    return records.fetch(model, pk, data.get("db"))


def _dump_enum(value: Enum) -> Any:
    member = encode(value.value) if isinstance(value, Flag) else value.name
    return {TYPE: "enum", "class": names.name_of(type(value)), "value": member}


def _load_enum(data: Any) -> Any:
    cls = names.resolve(data["class"])
    if not (isinstance(cls, type) and issubclass(cls, Enum)):
        raise DeserializationError(f"{data['class']} is not an Enum.")
    return cls(decode(data["value"])) if issubclass(cls, Flag) else cls[data["value"]]


def _build(build: Callable[[Any], Any], data: Any) -> Any:
    try:
        return build(data)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise DeserializationError(f"The payload has a broken {data[TYPE]}: {error!r}") from error


def _build_container(container: Callable[[Any], Any], data: Any) -> Any:
    # The contents are decoded first: an error of a model's own code is not one of the container.
    contents = decode(data.get("value"))
    if not isinstance(contents, list):
        raise DeserializationError(f"The payload has a broken {data[TYPE]}: its value is not a list.")
    return _build(lambda _: container(contents), data)


_CONTAINERS: dict[str, Callable[[Any], Any]] = {
    container.__name__: container for container in (tuple, set, frozenset, dict)
}
_dump.update(
    {
        **scalars.DUMP,
        list: _list,
        tuple: lambda value, depth: {TYPE: "tuple", "value": _list(value, depth)},
        set: _set,
        frozenset: _set,
        dict: _dict,
    }
)
_load.update(
    {
        **{name: partial(_build, load) for name, load in scalars.LOAD.items()},
        **{name: partial(_build_container, container) for name, container in _CONTAINERS.items()},
        "model": lambda data: records.model_of(data.get("value")),
        "record": _load_record,
        "enum": partial(_build, _load_enum),
    }
)
