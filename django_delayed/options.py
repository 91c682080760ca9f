"""The options of a job, the same wherever one is enqueued: checked, merged, and their functions called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings as django_settings
from django.utils import timezone

from .conf import duration, queue_name

PRIORITIES = range(-(2**31), 2**31)
TIMES = {"run_at", "wait"}  # two ways to say when


def check_options(given: dict[str, Any]) -> dict[str, Any]:
    """The options under their one name, each literal checked; None counts as not given."""
    options = {name: value for name, value in given.items() if value is not None}
    if "wait_until" in options and "run_at" in options:
        raise TypeError("wait_until is another spelling of run_at; give one of them.")
    if "wait_until" in options:
        options["run_at"] = options.pop("wait_until")
    if unknown := sorted(set(given) - set(_CHECKS) - {"wait_until"}):
        raise TypeError(f"Unknown option {unknown[0]!r}; a job has {', '.join(_CHECKS)} (and wait_until).")
    if "wait" in options and "run_at" in options:
        raise TypeError("Give run_at or wait, not both.")
    return {name: value if callable(value) else _CHECKS[name](value) for name, value in options.items()}


def choose_options(layers: Iterable[dict[str, Any]], about: Any) -> dict[str, Any]:
    """Of layers of checked options, the uppermost last, each option as the uppermost layer gives it.

    Functions are called only where their option counts, and what they return is checked like a literal.
    A `wait` above replaces a `run_at` below and the other way round.
    """
    chosen: dict[str, Any] = {}
    for layer in reversed([*layers]):
        taken = {*chosen, *TIMES} if chosen.keys() & TIMES else {*chosen}
        given = {name: value for name, value in layer.items() if name not in taken}
        if any(callable(value) for value in given.values()):
            given = check_options({name: evaluate(value, about) for name, value in given.items()})
        chosen |= given
    return chosen


def evaluate(option: Any, about: Any) -> Any:
    """The option itself, or what its function returns, given `about` when it requires an argument."""
    if not callable(option):
        return option
    return option(about) if _has_required_parameter(option) else option()


def _has_required_parameter(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some of C's functions do not tell
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.kind in positional and p.default is p.empty for p in parameters)


def _check_priority(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"priority must be a whole number, not {value!r}.")
    if value not in PRIORITIES:
        raise ValueError(f"priority must fit into 32 bits, got {value}.")
    return int(value)


def _check_wait(value: Any) -> timedelta:
    wait = duration(value, "wait")
    try:
        timezone.now() + wait + timedelta(days=366)
    except OverflowError:
        raise ValueError(f"wait reaches beyond the year 9998: {value!r}.") from None
    return wait


def _check_run_at(value: Any) -> datetime:
    if not isinstance(value, datetime):
        how = " Write datetime.combine(that_day, time(9, 0), tzinfo=…)." if isinstance(value, date) else ""
        raise TypeError(f"run_at must be a datetime, not {value!r}.{how}")
    if timezone.is_naive(value) and django_settings.USE_TZ:
        raise ValueError(
            f"run_at must be aware of its time zone; wrap {value!r} in django.utils.timezone.make_aware()."
        )
    if not 1000 <= value.year <= 9998:  # the range of MySQL, with room for the zones
        raise ValueError(f"run_at is out of range: {value!r}.")
    return timezone.make_naive(value) if timezone.is_aware(value) and not django_settings.USE_TZ else value


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "queue": lambda value: queue_name(value, "queue"),
    "priority": _check_priority,
    "run_at": _check_run_at,
    "wait": _check_wait,
}
