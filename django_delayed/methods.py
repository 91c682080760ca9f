"""The functions and methods that a job may call: found without running anything, and checked."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partialmethod
from typing import Any

from django.db import models

_MISSING = object()
_UNBOUND = (
    classmethod,
    staticmethod,
    partialmethod,
)  # what is a method, and cannot be called before it is bound


def class_of(target: Any) -> type:
    """The class that is asked for a method: the target itself, or that of the instance."""
    # Not type(): request.user is a SimpleLazyObject, and says by __class__ what it stands for.
    return target if isinstance(target, type) else target.__class__


def find_method(target: Any, name: str, owner: type | None = None) -> Any:
    """The method as the target's class has it, not bound; as `owner` has it, where one is given.

    Raises AttributeError or TypeError, with what to write instead, when no job may call it.
    """
    cls = class_of(target)
    if owner is not None and not issubclass(cls, owner):
        raise TypeError(f"{cls.__qualname__} is no {owner.__qualname__} (any more).")
    if name.startswith("_"):
        raise AttributeError(f"{cls.__qualname__}.{name} is private; a job may only call public methods.")
    classes = [owner] if owner else cls.__mro__
    defined = next((vars(c)[name] for c in classes if name in vars(c)), _MISSING)
    if defined is _MISSING:
        raise AttributeError(f"{cls.__qualname__} has no method {name!r}.")
    if not _is_method(defined):
        raise TypeError(f"{cls.__qualname__}.{name} is not a method, so it cannot be delayed.")
    check_target(target, name, undelayed(defined))
    return defined


def target_of(target: Any, method: Any) -> Any:
    """What the call is about: the class, for a classmethod or staticmethod reached through an instance."""
    return class_of(target) if isinstance(method, (classmethod, staticmethod)) else target


def undelayed(defined: Any) -> Any:
    """The method itself, where its calls are handled asynchronously."""
    return getattr(defined, "undelayed", defined)


def bind(target: Any, method: Any) -> Callable[..., Any]:
    """The method of this instance or class, to be called."""
    instance = None if isinstance(target, type) else target
    return method.__get__(instance, class_of(target))


def check_target(target: Any, name: str, method: Any) -> None:
    """Raise TypeError for a target that no worker could fetch, or that the method is not for."""
    if isinstance(target, type) and not isinstance(method, (classmethod, staticmethod)):
        raise TypeError(
            f"{target.__qualname__}.{name} is a method of instances; call it on one, as in "
            f"instance.delay().{name}(…)."
        )
    if not isinstance(target, (type, models.Model)):
        raise TypeError(
            f"A {type(target).__name__} cannot be found by a worker; only saved model instances can."
        )


def check_kind(name: str, function: Any) -> None:
    """Raise TypeError for a function whose call does nothing by itself: it would be lost without a word."""
    function = getattr(function, "__func__", function)
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{name} is async, which is not supported yet; delay a plain function.")
    if inspect.isgeneratorfunction(function):
        raise TypeError(f"{name} is a generator, which nobody would run; delay a plain function.")


def check_fit(name: str, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise TypeError for arguments that the function does not take."""
    if inspect.ismethod(function):
        function, args = function.__func__, (function.__self__, *args)
    if (signature := _signature_of(function)) is None:
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name}(): {error}.") from None


def is_function(thing: Any) -> bool:
    """Whether it is a function that a module defines, decorated or not."""
    if isinstance(thing, type) or undelayed(thing) is not thing:
        return False
    return inspect.isfunction(thing) or (callable(thing) and hasattr(thing, "__wrapped__"))


def _is_method(defined: Any) -> bool:
    if isinstance(defined, (type, property, cached_property)) or not hasattr(defined, "__get__"):
        return False
    return callable(defined) or isinstance(defined, _UNBOUND)


@functools.lru_cache(maxsize=1024)
def _signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # some of C's functions do not tell
        return None
