"""A payload as the call that it stands for. Only the JSON is read; no code of the job is imported."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.utils.translation import gettext as _
from django.views.debug import SafeExceptionReporterFilter, get_default_exception_reporter_filter

from ..serialization.errors import storable
from ..serialization.scalars import TYPE

LONGEST_CALL = 2000  # characters
LONGEST_VALUE = 200


def call_in(payload: str) -> str | None:
    """ "send_to_twitter(3, y=4) on blog.post 9"; None for a payload that no job writes."""
    try:
        return _cut(storable(_call(masked(json.loads(payload)))), LONGEST_CALL)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return None


def indented(payload: str) -> str:
    """The JSON with a line for each value and without secrets; a text that is not JSON is not changed."""
    try:
        # A lone surrogate, which JSON has as an escape, cannot be sent to a browser.
        return storable(json.dumps(masked(json.loads(payload)), indent=2, ensure_ascii=False))
    except json.JSONDecodeError:
        return payload
    except (RecursionError, ValueError):
        # It is not shown at all: its secrets cannot be masked.
        return _("It has a number that is too long, or is nested too deep to be shown.")


def without_secrets(payload: str) -> str:
    """The JSON without secrets; a text that is not JSON is not changed; "" if it cannot be read."""
    try:
        data = json.loads(payload)
        shown = masked(data)
        return payload if shown == data else json.dumps(shown)
    except json.JSONDecodeError:
        return payload
    except (RecursionError, ValueError):
        return ""


def masked(data: Any) -> Any:
    """The data with stars for each value that has a secret-looking name, as on Django's debug page."""
    if isinstance(data, list):
        return [masked(value) for value in data]
    if not isinstance(data, dict):
        return data
    if data.get(TYPE) == "dict":
        # Such a dict has its names in pairs with the values, not as keys.
        return data | {"value": [[name, _masked(name, value)] for name, value in _list(data["value"])]}
    if TYPE in data:
        # The names in a value with a type are ours, such as the key of a record.
        return {name: masked(value) for name, value in data.items()}
    return {name: _masked(name, value) for name, value in data.items()}


def _masked(name: Any, value: Any) -> Any:
    # The project may have a filter of its own, which need not be a subclass of Django's.
    reporter: Any = get_default_exception_reporter_filter()
    if not hasattr(reporter, "cleanse_setting"):
        reporter = SafeExceptionReporterFilter()
    return reporter.cleanse_setting(name, "") or masked(value)


def _call(payload: dict[str, Any]) -> str:
    arguments = [_value(value) for value in _list(payload["args"])]
    arguments += [f"{name}={_value(value)}" for name, value in payload["kwargs"].items()]
    return _called(payload, ", ".join(arguments))


def _called(payload: dict[str, Any], arguments: str) -> str:
    for kind in ("function", "task"):
        if kind in payload:
            return f"{_name(payload[kind])}({arguments})"
    for kind in ("class", "mailer"):
        if kind in payload:
            return f"{_name(payload[kind])}.{payload['method']}({arguments})"
    if "target" in payload:
        return f"{payload['method']}({arguments}) on {_value(payload['target'])}"
    return f"{_name(payload['job'])}({arguments})"


def _name(stored: str) -> str:
    """ "shop.jobs:Clean" without its module."""
    return stored.partition(":")[2] or stored


def _list(data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise TypeError(f"{data!r} is not a list")
    return data


def _value(data: Any) -> str:
    if isinstance(data, list):
        return f"[{_joined(data)}]"
    if not isinstance(data, dict):
        return _cut(repr(data), LONGEST_VALUE)
    if TYPE not in data:
        return _pairs(data.items())
    write = _WRITE.get(data[TYPE])
    if write is not None:
        return write(data)
    values = [f"{name}={_value(value)}" for name, value in data.items() if name != TYPE]
    return f"{data[TYPE]}({', '.join(values)})"


def _joined(items: list[Any]) -> str:
    return ", ".join(map(_value, _list(items)))


def _pairs(pairs: Any) -> str:
    return f"{{{', '.join(f'{key!r}: {_value(value)}' for key, value in pairs)}}}"


def _record(data: dict[str, Any]) -> str:
    elsewhere = "" if data["db"] in (None, "default") else f" in {data['db']}"
    key = " ".join(data["key"]) if "key" in data else _value(data["pk"])
    return f"{data['model']} {key}{elsewhere}"


def _moment(data: dict[str, Any]) -> str:
    zone = data["zone"]
    if isinstance(zone, (int, float)):
        zone = f"UTC{timedelta(microseconds=zone) / timedelta(hours=1):+g}"
    return f"{data['value']} {zone}" if zone else str(data["value"])


def _tuple(data: dict[str, Any]) -> str:
    return f"({_joined(data['value'])}{',' if len(data['value']) == 1 else ''})"


def _enum(data: dict[str, Any]) -> str:
    member = data["value"]
    return (
        f"{_name(data['class'])}.{member}" if isinstance(member, str) else f"{_name(data['class'])}({member})"
    )


def _set(data: dict[str, Any]) -> str:
    return f"{data[TYPE]}({_joined(data['value'])})"


def _plain(data: dict[str, Any]) -> str:
    return _cut(str(data["value"]), LONGEST_VALUE)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


_WRITE: dict[str, Callable[[dict[str, Any]], str]] = {
    "record": _record,
    "model": lambda data: str(data["value"]),
    "datetime": _moment,
    "time": _moment,
    "date": _plain,
    "timedelta": lambda data: str(timedelta(*data["value"])),
    "decimal": _plain,
    "uuid": _plain,
    "int": _plain,
    "safe": lambda data: _value(data["value"]),
    "bytes": lambda data: f"bytes({_cut(data['value'], LONGEST_VALUE)!r})",
    "tuple": _tuple,
    "set": _set,
    "frozenset": _set,
    "dict": lambda data: _pairs(data["value"]),
    "enum": _enum,
    "path": lambda data: _value(data["value"]),
}
