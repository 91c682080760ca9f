"""The only door from a stored name to code, and the same check when the name is written."""

from __future__ import annotations

import functools
import inspect
from importlib import import_module
from typing import Any

from django.apps import apps
from django.core.signals import setting_changed

from .conf import settings
from .exceptions import DeserializationError, SerializationError

_MISSING = object()


@functools.lru_cache(maxsize=4096)
def name_of(thing: Any) -> str:
    """The name under which a row may ask for this class or function: "module:qualname".

    Raises SerializationError, with what to do about it, when a worker could not come back to it by that name.
    """
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


def resolve(name: str) -> Any:
    """The class or function of this name. Imports nothing but modules of installed apps and TRUSTED_MODULES.

    Raises DeserializationError for every other name, and when the code is gone or cannot be imported.
    """
    module_name, _, qualname = name.partition(":")
    parts = [*module_name.split("."), *qualname.split(".")]
    if not all(part.isidentifier() for part in parts):
        raise DeserializationError(f"{name!r} is not the name of a class or function.")
    if any(part.startswith("_") for part in parts):
        raise DeserializationError(
            f"{name} is private; jobs may only name public code in importable modules."
        )
    if not _is_trusted(module_name):
        raise DeserializationError(
            f"{name} may not be named by a job: its module is in none of INSTALLED_APPS; "
            "add its app there, or the module to DJANGO_DELAYED['TRUSTED_MODULES']."
        )
    found = _import(module_name)
    for part in qualname.split("."):
        # Static: a name from a row must not run a property or a __getattr__.
        found = inspect.getattr_static(found, part, _MISSING)
        if found is _MISSING:
            raise DeserializationError(f"{name} does not exist (any more).")
    if (getattr(found, "__module__", None), getattr(found, "__qualname__", None)) != (module_name, qualname):
        raise DeserializationError(f"{name} is not defined there; jobs name code by where it is defined.")
    return found


@functools.lru_cache(maxsize=1024)
def _is_trusted(module: str) -> bool:
    installed = (config.name for config in apps.get_app_configs())
    packages = [
        *(name for name in installed if f"{name}.".partition(".")[0] != "django"),
        *settings.TRUSTED_MODULES,
    ]
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _import(module: str) -> Any:
    try:
        return import_module(module)
    except Exception as error:  # whatever a module does when it is imported
        raise DeserializationError(f"{module} cannot be imported: {type(error).__name__}: {error}") from error


def _forget(*, setting: str, **_: Any) -> None:
    if setting in ("INSTALLED_APPS", "DJANGO_DELAYED"):
        name_of.cache_clear()
        _is_trusted.cache_clear()


setting_changed.connect(_forget)
