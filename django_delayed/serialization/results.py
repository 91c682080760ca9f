"""The result of a job, as the JSON of the column `result`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import arguments


@dataclass(frozen=True)
class Kept:
    """The value that a job has returned, and the worker that performed it, as a finished row names none."""

    value: Any = None
    worker: str = ""

    def dump(self) -> str:
        """The column as ASCII JSON."""
        return arguments.to_json(vars(self))

    @classmethod
    def load(cls, text: str) -> Kept:
        """What the column says; nothing if it is empty, or if somebody has written something else there."""
        if not text:
            return cls()
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError):
            return cls()


def normalized(value: Any) -> Any:
    """The value as it comes back from JSON. Raises TypeError or ValueError for one that JSON cannot hold."""
    try:
        data = _decoder.decode(arguments.to_json(_in_json(value)))
    except RecursionError:
        raise ValueError("It contains itself, or is nested too deep.") from None
    if arguments.is_too_deep(data, arguments.DEEPEST):
        raise ValueError(f"It is nested more than {arguments.DEEPEST} levels deep.")
    return data


def _in_json(value: Any) -> Any:
    """The value in types that JSON has, as Django's framework of tasks converts it."""
    match value:
        case None | bool() | str() | int() | float():
            return value
        case Mapping():
            return {_in_json(key): _in_json(item) for key, item in value.items()}
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                raise ValueError("Unsupported value: bytes that are not UTF-8 text.") from None
        case Sequence():
            return [_in_json(item) for item in value]
    raise TypeError(f"Unsupported type: {type(value)}. JSON has no such value.")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    items = dict(pairs)
    if len(items) < len(pairs):
        raise ValueError(f"A dict has two keys that are equal in JSON, such as 1 and '1': {[*items]}.")
    return items


_decoder = json.JSONDecoder(object_pairs_hook=_without_duplicates)
