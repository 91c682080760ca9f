"""What an error says of a value that cannot be serialized: where it is, and what to write instead."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from decimal import Decimal
from pathlib import PurePath
from typing import Any

from django.db.models import QuerySet
from django.utils.datastructures import MultiValueDict

REGISTER = "register its type with django_delayed.register_type()"
# Kinds of values, the narrower ones first, and the expression that converts each to something storable.
_CONVERSIONS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((MultiValueDict,), "value.dict() or dict(value.lists()) for every value of each key"),
    ((Mapping,), "dict(…)"),
    ((str, PurePath), "str(…)"),
    ((bytes, bytearray, memoryview), "bytes(…)"),
    ((Decimal,), "Decimal(…)"),
    ((numbers.Integral,), "int(…)"),
    ((numbers.Real,), "float(…)"),
    ((tuple,), "tuple(…)"),
    ((set,), "set(…)"),
    ((frozenset,), "frozenset(…)"),
    ((Sequence, Set, Iterator, QuerySet), "list(…)"),
)


def refusal(value: Any) -> str:
    """The sentence about a value of a type that cannot be serialized."""
    cls = type(value)
    conversion = _conversion(value)
    instead = f"write {conversion}" if conversion else "pass something simpler"
    return f"a {cls.__module__}.{cls.__qualname__} cannot be serialized; {instead}, or {REGISTER}"


def place_in(value: Any, is_refused: Callable[[Any], bool], most_levels: int) -> str:
    """Where the refused value is in this one, as "[3]['total']"; "" when it is this one itself.

    "" too when it is deeper than `most_levels`, as in a list that contains itself.
    """
    place = ""
    for _ in range(most_levels):
        found = next(((step, item) for step, item in _items(value) if is_refused(item)), None)
        if found is None:
            return place
        place, value = place + found[0], found[1]
    return ""


def _conversion(value: Any) -> str:
    # For numpy and pandas: their boolean scalars are no numbers, and their arrays are no sequences.
    if callable(getattr(type(value), "tolist", None)) and not isinstance(value, numbers.Number):
        return "value.tolist()"
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return "tuple(…) or value._asdict()"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return "dataclasses.asdict(…)"
    # A file is an iterator of its lines.
    if hasattr(type(value), "read"):
        return ""
    return next((write for types, write in _CONVERSIONS if isinstance(value, types)), "")


def _items(value: Any) -> Iterable[tuple[str, Any]]:
    if type(value) in (list, tuple):
        return ((f"[{index}]", item) for index, item in enumerate(value))
    if type(value) is dict:
        return ((f"[{key!r}]", item) for key, item in value.items())
    if type(value) in (set, frozenset):
        return (("{…}", item) for item in value)
    return ()
