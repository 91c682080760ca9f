"""The options of a job, the same for every enqueue: checked, merged, and their functions called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any, TypedDict

from django.conf import settings as django_settings
from django.utils import timezone

from .conf import count, from_now, integer, positive_duration, queue_name
from .features.unique.definition import Unique, unique_option

Options = dict[str, Any]
Layers = tuple[Options, ...]  # of checked options, the uppermost last


class JobOptions(TypedDict, total=False):
    """The options of a job, for type checkers: each a value, or a function that returns one."""

    queue: str | Callable[..., str] | None
    priority: int | Callable[..., int] | None
    run_at: datetime | Callable[..., datetime] | None
    wait_until: datetime | Callable[..., datetime] | None
    wait: timedelta | float | Callable[..., timedelta | float] | None
    max_attempts: int | Callable[..., int] | None
    max_run_time: timedelta | float | Callable[..., timedelta | float] | None
    unique: Unique | bool | Callable[..., Unique | bool] | None


WHEN = {"run_at", "wait"}  # two ways to say it


def check_options(given: Mapping[str, Any]) -> Options:
    """The options, with wait_until renamed to run_at, each literal checked; None counts as not given.

    Raises TypeError or ValueError.
    """
    options = {name: value for name, value in given.items() if value is not None}
    if "wait_until" in options and "run_at" in options:
        raise TypeError("wait_until is another spelling of run_at; give one of them.")
    if "wait_until" in options:
        options["run_at"] = options.pop("wait_until")
    if unknown := sorted(set(given) - set(_CHECKS) - {"wait_until"}):
        raise TypeError(
            f"Unknown option {unknown[0]!r}; a job has {', '.join(_CHECKS)} (and wait_until). All else that a"
            " job may have is an attribute of its class."
        )
    if options.keys() >= WHEN:
        raise TypeError("Give run_at or wait, not both.")
    return {name: value if callable(value) else _CHECKS[name](value, name) for name, value in options.items()}


def check_columns(**given: Any) -> Options:
    """Options as a row has them, each checked; None counts as not given. Raises TypeError or ValueError."""
    return {name: _CHECKS[name](value, name) for name, value in given.items() if value is not None}


def choose_options(layers: Iterable[Options], target: Any) -> Options:
    """Each option from the uppermost layer that has it; the uppermost layer is the last.

    A function is called only if its option is chosen, and its result is checked like a literal. A `wait` in
    one layer replaces a `run_at` below it and the other way round.
    """
    chosen: Options = {}
    for layer in reversed([*layers]):
        if not layer:
            continue
        settled = {*chosen} | (WHEN if not WHEN.isdisjoint(chosen) else set())
        added = {name: value for name, value in layer.items() if name not in settled}
        if any(callable(value) for value in added.values()):
            added = check_options({name: evaluate(value, target) for name, value in added.items()})
        chosen |= added
    return chosen


def evaluate(option: Any, target: Any) -> Any:
    """The option, or what its function returns, called with `target` if it requires an argument."""
    if not callable(option):
        return option
    return option(target) if _has_required_parameter(option) else option()


def _has_required_parameter(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        # Some functions written in C have no signature.
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.kind in positional and p.default is p.empty for p in parameters)


def _wait(value: Any, name: str) -> timedelta:
    wait = from_now(value, name)
    try:
        timezone.now() + wait + timedelta(days=366)
    except OverflowError:
        raise ValueError(f"{name} reaches beyond the year 9998: {value!r}.") from None
    return wait


def _run_at(value: Any, name: str) -> datetime:
    if not isinstance(value, datetime):
        how = " Write datetime.combine(that_day, time(9, 0), tzinfo=…)." if isinstance(value, date) else ""
        raise TypeError(f"{name} must be a datetime, not {value!r}.{how}")
    if timezone.is_naive(value) and django_settings.USE_TZ:
        raise ValueError(
            f"{name} must be aware of its time zone; wrap {value!r} in django.utils.timezone.make_aware()."
        )
    # The range of MySQL's DATETIME, with room for the time zones.
    if not 1000 <= value.year <= 9998:
        raise ValueError(f"{name} is out of range: {value!r}.")
    return timezone.make_naive(value) if timezone.is_aware(value) and not django_settings.USE_TZ else value


_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "queue": queue_name,
    "priority": integer,
    "run_at": _run_at,
    "wait": _wait,
    "max_attempts": count,
    "max_run_time": positive_duration,
    "unique": unique_option,
}
