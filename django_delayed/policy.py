"""What a Job class may say of itself: how it is written, where it goes, how often it is tried."""

from __future__ import annotations

import inspect
from typing import Any

from .conf import duration
from .options import check_options


def check_policy(cls: Any) -> None:
    """Raise TypeError or ValueError for what is wrong with a subclass of Job: when it is defined, not when it runs."""
    where = cls.__qualname__
    if "__init__" in vars(cls):
        raise TypeError(f"{where} must not override __init__: a Job takes the arguments of perform().")
    if inspect.iscoroutinefunction(cls.perform) or inspect.isasyncgenfunction(cls.perform):
        raise TypeError(
            f"{where}.perform() is async, which is not supported yet; call async_to_sync() inside it."
        )
    if inspect.isgeneratorfunction(cls.perform):
        raise TypeError(f"{where}.perform() is a generator, which nobody would run; do the work in it.")
    if not inspect.isgeneratorfunction(cls.around_perform):
        raise TypeError(f"{where}.around_perform() must be a generator with one yield.")
    for name in ("atomic", "retry_on"):
        if hasattr(cls, name):
            raise TypeError(f"{where}.{name} is not supported yet.")
    check_options({"queue": cls.queue, "priority": cls.priority})
    if cls.max_attempts is not None and (type(cls.max_attempts) is not int or cls.max_attempts < 1):
        raise TypeError(
            f"{where}.max_attempts must be a whole number of at least 1, not {cls.max_attempts!r}."
        )
    if cls.max_run_time is not None and not duration(cls.max_run_time, f"{where}.max_run_time"):
        raise ValueError(f"{where}.max_run_time must be longer than 0 seconds.")
    if not isinstance(cls.discard_on, tuple) or not all(_is_error(error) for error in cls.discard_on):
        raise TypeError(f"{where}.discard_on must be a tuple of exception classes, not {cls.discard_on!r}.")


def _is_error(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)
