"""Whether a job may call a function, and whether arguments fit it. Nothing is run to find that out."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def check_kind(name: str, function: Any, *, may_be_async: bool = False) -> None:
    """Raise TypeError for a generator function, and for an async one that would not be awaited."""
    function = getattr(function, "__func__", function)
    if inspect.iscoroutinefunction(function) and not may_be_async:
        raise TypeError(f"{name} is async, and must not be; use a plain function that calls async_to_sync().")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{name} is a generator, and a worker would not iterate over it; use a plain function."
        )


def check_fit(name: str, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise TypeError for arguments that the function does not take."""
    if inspect.ismethod(function):
        function, args = function.__func__, (function.__self__, *args)
    # Whether they fit depends on nothing else, so it is found out once for all jobs of a kind.
    if why := _misfit(function, len(args), tuple(kwargs)):
        raise TypeError(f"{name}(): {why}.")


@functools.lru_cache(maxsize=4096)
def _misfit(function: Callable[..., Any], args: int, names: tuple[str, ...]) -> str:
    """Why the function does not take so many arguments and those with these names; "" if it does."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        # Some functions written in C have no signature.
        return ""
    try:
        signature.bind(*range(args), **dict.fromkeys(names))
    except TypeError as error:
        return str(error)
    return ""
