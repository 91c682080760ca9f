"""Classes and functions by name: what a row may name, and the only place that imports it."""

from __future__ import annotations

import functools
import inspect
from importlib import import_module
from types import FunctionType
from typing import Any

from django.apps import apps
from django.core.signals import setting_changed
from django.db import Error as DatabaseError

from ..conf import settings
from ..exceptions import DeserializationError, SerializationError

_MISSING = object()


def name_of(thing: Any) -> str:
    """The name under which a row may ask for this class or function: "module:qualname".

    Raises SerializationError, with what to do about it, when a worker could not find it by that name.
    """
    return _name_of(thing)


@functools.lru_cache(maxsize=4096)
def _name_of(thing: Any) -> str:
    module, qualname = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not module or not qualname:
        raise SerializationError(f"{thing!r} has no name that a worker could find it by.")
    if "<" in qualname:
        raise SerializationError(
            f"{module}.{qualname} is a lambda or is defined inside a function, where no worker can find it; "
            "define it at the top of a module."
        )
    name = f"{module}:{qualname}"
    try:
        found = resolve(name)
    except DeserializationError as error:
        raise SerializationError(str(error)) from error
    if found is not thing:
        raise SerializationError(
            f"{name} is not what {module} has under that name; a worker would find {found!r}."
        )
    return name


def resolve(name: Any) -> Any:
    """The class or function of this name. Imports nothing but modules of installed apps and TRUSTED_MODULES.

    Raises DeserializationError for every other name, and when the code is gone or cannot be imported.
    """
    module_name, _, qualname = name.partition(":") if isinstance(name, str) else ("", "", "")
    parts = [*module_name.split("."), *qualname.split(".")]
    if not all(part.isidentifier() for part in parts):
        raise DeserializationError(f"{name!r} is not the name of a class or function.")
    if any(part.startswith("_") for part in parts):
        raise DeserializationError(
            f"{name} is private; jobs may only name public code in importable modules."
        )
    if not is_trusted(module_name):
        raise DeserializationError(
            f"{name} may not be named by a job: its module is not in any of INSTALLED_APPS (Django's do"
            " not count); add its app there, or the module to DJANGO_DELAYED['TRUSTED_MODULES']."
        )
    found = _import(module_name)
    for part in qualname.split("."):
        # Statically: a name from a row must not run a property or a __getattr__.
        found = inspect.getattr_static(found, part, _MISSING)
        if found is _MISSING:
            raise DeserializationError(f"{name} does not exist.")
    # Not isinstance(): it would evaluate a lazy object, such as settings or a SimpleLazyObject.
    if type(found) is staticmethod:
        found = found.__func__
    if _own_name(found) != (module_name, qualname):
        raise DeserializationError(f"{name} is not defined there; jobs name code by where it is defined.")
    return found


def resolve_class(name: Any) -> type:
    """As `resolve`, for the name of a class only."""
    found = resolve(name)
    if not isinstance(found, type):
        raise DeserializationError(f"{name} is not a class.")
    return found


def _own_name(found: Any) -> tuple[Any, Any]:
    """What the object says that its module and its qualified name are."""
    if issubclass(type(found), (type, FunctionType)):
        return found.__module__, found.__qualname__
    # A decorated function has both in its __dict__. getattr() would evaluate a lazy object.
    module = inspect.getattr_static(found, "__module__", None)
    return module, inspect.getattr_static(found, "__qualname__", None)


def is_trusted(module: str) -> bool:
    """Whether a row may name code that this module defines."""
    return any(module == package or module.startswith(f"{package}.") for package in _trusted_packages())


@functools.cache
def _trusted_packages() -> tuple[str, ...]:
    installed = (config.name for config in apps.get_app_configs())
    # Neither Django's own code nor ours: our job classes have tags, and a row may call nothing else of ours.
    theirs = (name for name in installed if name.partition(".")[0] not in ("django", "django_delayed"))
    return (*theirs, *settings.TRUSTED_MODULES)


def _import(module: str) -> Any:
    try:
        return import_module(module)
    except DatabaseError:
        # The module runs a query when it is imported, and the database is unavailable: to be tried again.
        raise
    except Exception as error:
        raise DeserializationError(f"{module} cannot be imported: {type(error).__name__}: {error}") from error


def _forget(*, setting: str, **_: Any) -> None:
    if setting in ("INSTALLED_APPS", "DJANGO_DELAYED"):
        _name_of.cache_clear()
        _trusted_packages.cache_clear()


setting_changed.connect(_forget)
