"""What a Job class may say of itself: how it is written, where it goes, how often it is tried."""

from __future__ import annotations

import inspect
from typing import Any

from .conf import duration
from .options import check_options

# Job's own: a subclass that gives one of these another meaning would not be performed as it thinks.
OWN = (
    *("args", "kwargs", "options", "delayed_job", "name", "subject", "about", "set", "run", "run_time"),
    *("perform_later", "perform_now", "written_down", "in_surroundings"),
    *("dump", "load", "dump_arguments", "load_arguments"),
)
TIMES = ("wait", "run_at", "wait_until")
HOOKS = ("before_enqueue", "after_enqueue", "before_perform", "after_perform", "on_error", "on_failure")
MOST_ATTEMPTS = 2**31 - 1  # what every database can count to


def check_policy(cls: Any, base: type) -> None:
    """Raise TypeError or ValueError for what is wrong with a subclass of Job, when it is defined."""
    where = cls.__qualname__
    theirs = [
        c for c in cls.__mro__ if not issubclass(base, c) and not c.__module__.startswith("django_delayed.")
    ]
    written = {name for c in theirs for name in vars(c)}
    if "__init__" in written:
        raise TypeError(f"{where} must not override __init__: a Job takes the arguments of perform().")
    if taken := written.intersection(OWN):
        raise TypeError(f"{where} must not override {min(taken)}, which a Job uses itself.")
    if times := written.intersection(TIMES):
        raise TypeError(
            f"{where}.{min(times)}: when a job runs is said with set({min(times)}=…) or enqueue()."
        )
    for name in ("atomic", "retry_on"):
        if name in written:
            raise TypeError(f"{where}.{name} is not supported yet.")
    for name in ("perform", *HOOKS):
        _check_method(f"{where}.{name}()", getattr(cls, name))
    if not inspect.isgeneratorfunction(cls.around_perform):
        raise TypeError(f"{where}.around_perform() must be a generator with one yield.")
    _check_attributes(cls, where)


def _check_method(where: str, method: Any) -> None:
    if not callable(method):
        raise TypeError(f"{where} must be a method, not {method!r}.")
    if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
        raise TypeError(f"{where} is async, which is not supported yet; call async_to_sync() inside it.")
    if inspect.isgeneratorfunction(method):
        raise TypeError(f"{where} is a generator, which nobody would run; do the work in it.")


def _check_attributes(cls: Any, where: str) -> None:
    check_options({"queue": cls.queue, "priority": cls.priority})
    attempts = cls.max_attempts
    if attempts is not None and (type(attempts) is not int or not 1 <= attempts <= MOST_ATTEMPTS):
        raise TypeError(f"{where}.max_attempts must be a whole number of at least 1, not {attempts!r}.")
    if cls.max_run_time is not None and not duration(cls.max_run_time, f"{where}.max_run_time"):
        raise ValueError(f"{where}.max_run_time must be longer than 0 seconds.")
    if not isinstance(cls.discard_on, tuple) or not all(_is_error(error) for error in cls.discard_on):
        raise TypeError(f"{where}.discard_on must be a tuple of exception classes, not {cls.discard_on!r}.")


def _is_error(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)
