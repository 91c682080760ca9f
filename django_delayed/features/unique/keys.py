"""The key of a job: a hash of what makes it equal to others, which its payload keeps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...exceptions import DeserializationError, SerializationError
from ...options import evaluate
from ...serialization import arguments
from ...serialization.scalars import TYPE
from .definition import REPLACE, UNTIL, Unique

if TYPE_CHECKING:
    from ...jobs import Job

# Bits of DelayedJob.extras: the job has a key; an operator has put it to now.
UNIQUE, PUT_TO_NOW = 32, 64
# The parts of a payload that name the code of a job and its arguments. The rest, such as the language or the
# id of a mail, may differ between equal jobs.
CODE = ("job", "function", "class", "method", "owner", "task", "mailer")
WHAT = (*CODE, "target", "args", "kwargs", "message", "using")
LONGEST_TEXT = 255


@dataclass(frozen=True)
class Key:
    """A key as jobs hold it. `text` is the key for people; "" for what the job does and its arguments."""

    hash: str
    until: str
    text: str = ""
    replaces: bool = False


def with_key(job: Job, unique: Unique, payload: str) -> tuple[str, Key]:
    """The payload of the job with its key, and the key.

    Raises what a function for the key raises, TypeError if it returns None, SerializationError for a value
    that cannot be a key.
    """
    data = arguments.from_json(payload)
    if unique.key is None:
        what, text = {name: data[name] for name in WHAT if name in data}, ""
    else:
        value = _encoded(job, unique)
        what, text = {**_code_in(data), "key": value}, _text_of(value)
    canonical = json.dumps(_ordered(what), sort_keys=True, separators=(",", ":"))
    hash = hashlib.sha256(canonical.encode()).hexdigest()
    key = Key(hash, unique.until, text, unique.on_duplicate == REPLACE)
    data["unique"] = {"hash": key.hash, "until": key.until, **({"text": text} if text else {})}
    return arguments.to_json(data), key


def key_in(payload: str) -> Key | None:
    """The key that a payload keeps; None if there is none that can be read."""
    try:
        unique = arguments.from_json(payload)["unique"]
        found = Key(unique["hash"], unique["until"], unique.get("text", ""))
    except (DeserializationError, AttributeError, LookupError, TypeError):
        return None
    is_sound = isinstance(found.hash, str) and len(found.hash) == 64 and found.until in UNTIL
    return found if is_sound and isinstance(found.text, str) else None


def _encoded(job: Job, unique: Unique) -> Any:
    value = evaluate(unique.key, job.target)
    if value is None:
        raise TypeError(
            f"{job.name}: the key function of `unique` returned None. Let it return a value; for a job that"
            " is not unique, let `unique` be a function that returns False."
        )
    try:
        return arguments.encode_as("the key of its unique", value)
    except SerializationError as error:
        raise SerializationError(f"{job.name}: {error}") from error


def _code_in(data: Mapping[str, Any]) -> dict[str, Any]:
    """The code that the job calls, without its instance and its arguments."""
    code = {name: data[name] for name in CODE if name in data}
    if target := data.get("target"):
        # A model instance, or the model.
        code["target"] = target.get("model") or target.get("value")
    return code


def _text_of(value: Any) -> str:
    text = value if isinstance(value, str) else arguments.to_json(value)
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def _ordered(data: Any) -> Any:
    """The data with its sets sorted: Python iterates over a set differently in each process."""
    if isinstance(data, list):
        return [_ordered(value) for value in data]
    if not isinstance(data, dict):
        return data
    ordered = {name: _ordered(value) for name, value in data.items()}
    if data.get(TYPE) in ("set", "frozenset"):
        ordered["value"] = sorted(ordered["value"], key=lambda value: json.dumps(value, sort_keys=True))
    return ordered
