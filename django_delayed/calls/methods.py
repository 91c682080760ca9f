"""The functions and methods that a job may call. They are found without running code of the target."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property, partialmethod
from typing import Any

from django.db import models

from ..serialization import names

_MISSING = object()
# Methods that cannot be called before they are bound.
_UNBOUND = (classmethod, staticmethod, partialmethod)


def class_of(target: Any) -> type:
    """The class to look for a method in: the target itself, or that of the instance."""
    # Not type(): request.user is a SimpleLazyObject, and its __class__ is the class of the user.
    return target if isinstance(target, type) else target.__class__


def find_method(target: Any, name: str, owner: type | None = None) -> Any:
    """The method as the target's class defines it, not bound; as `owner` defines it, if that is given.

    Raises AttributeError or TypeError, with what to write instead, when no job may call it.
    """
    cls = class_of(target)
    if owner is not None and not issubclass(cls, owner):
        raise TypeError(f"{cls.__qualname__} is not a subclass of {owner.__qualname__}.")
    check_public(cls, name)
    classes = [owner] if owner else cls.__mro__
    defined = next((vars(c)[name] for c in classes if name in vars(c)), _MISSING)
    if defined is _MISSING:
        raise AttributeError(f"{cls.__qualname__} has no method {name!r}.")
    if not _is_method(defined):
        raise TypeError(f"{cls.__qualname__}.{name} is not a method, so it cannot be delayed.")
    return defined


def check_public(cls: type, name: str) -> None:
    """Raise AttributeError for a private name."""
    if name.startswith("_"):
        raise AttributeError(f"{cls.__qualname__}.{name} is private; a job may only call public methods.")


def undelayed(defined: Any) -> Any:
    """The method itself, where `handle_asynchronously` decorates it."""
    # Look at the class: functools.wraps copies the attributes of an instance to its wrapper.
    return defined.undelayed if hasattr(type(defined), "undelayed") else defined


def target_of(target: Any, method: Any) -> Any:
    """What the call is made on: the class, for a classmethod or staticmethod found through an instance."""
    return class_of(target) if isinstance(method, (classmethod, staticmethod)) else target


def bind(target: Any, method: Any) -> Callable[..., Any]:
    """The method of this instance or class, to be called."""
    instance = None if isinstance(target, type) else target
    return method.__get__(instance, class_of(target))


def check_target(target: Any, name: str, method: Any) -> None:
    """Raise TypeError for a target that no worker could fetch, or that does not fit the method."""
    if isinstance(target, type) and not isinstance(method, (classmethod, staticmethod)):
        raise TypeError(
            f"{target.__qualname__}.{name} is a method of instances; call it on one, as in "
            f"instance.delay().{name}(…)."
        )
    if not isinstance(target, (type, models.Model)):
        raise TypeError(
            f"A worker cannot fetch this {type(target).__name__}; only saved model instances can be delayed."
        )


def check_code(target: Any, name: str, method: Any) -> None:
    """Raise TypeError for a method with code from a module that jobs may not call.

    A class may inherit such a method, or define it as `run = staticmethod(os.system)`. Django's own methods
    of a model are allowed, such as `save`, or `email_user` of a user.
    """
    code = _innermost(method)
    module = code.__module__ if inspect.isfunction(code) else type(code).__module__
    cls = class_of(target)
    is_djangos = issubclass(cls, models.Model) and module.partition(".")[0] == "django"
    if not (inspect.isfunction(code) and (is_djangos or names.is_trusted(module))):
        raise TypeError(
            f"{cls.__qualname__}.{name} is defined in {module}, which is not in any of INSTALLED_APPS, so a"
            " job may not call it; write a method that does."
        )


def _innermost(method: Any) -> Any:
    """The function that a method calls in the end, also if it is decorated."""
    for _ in range(100):
        if isinstance(method, (classmethod, staticmethod)):
            method = method.__func__
        elif isinstance(method, partialmethod):
            method = method.func
        elif "__wrapped__" in getattr(method, "__dict__", {}):
            method = method.__dict__["__wrapped__"]
        else:
            break
    return method


def is_function(thing: Any) -> bool:
    """Whether it is a function that a module defines, decorated or not."""
    if inspect.isfunction(thing):
        return True
    if undelayed(thing) is not thing:
        return False
    return callable(thing) and hasattr(thing, "__wrapped__") and not isinstance(thing, type)


def _is_method(defined: Any) -> bool:
    if isinstance(defined, (type, property, cached_property)) or not hasattr(defined, "__get__"):
        return False
    return callable(defined) or isinstance(defined, _UNBOUND)
