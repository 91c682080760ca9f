"""Classes and functions by name: what a row may name, and the only place that imports it."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Sequence
from importlib import import_module
from types import FunctionType, NoneType
from typing import Any

from django.apps import apps
from django.core.signals import setting_changed
from django.db import Error as DatabaseError

from ..conf import settings
from ..exceptions import DeserializationError, SerializationError, UnknownCode

_MISSING = object()
# The own names of Job classes, by their former names.
_former_names: dict[str, str] = {}
# The classes of objects that a decorator makes of functions for jobs to perform: tasks.
marked_kinds: list[type] = []
_IF_IT_MOVED = (
    "If it has moved, give its new name in DJANGO_DELAYED['ALIASES'] or its old one in the aliases of the"
    " Job, or import it at the old place; then retry the job."
)


def name_of(thing: Any) -> str:
    """The name under which a row may ask for this class or function: "module:qualname".

    Raises SerializationError, with what to do about it, when a worker could not find it by that name.
    """
    # mypy does not take a class for hashable, and so refuses it as an argument of a cached function.
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
    if module == "__main__":
        raise SerializationError(
            f"{qualname} is defined in a script or a shell, where no worker can find it; define it in a"
            " module of an app."
        )
    name = f"{module}:{qualname}"
    try:
        found = found_under(name)
    except DeserializationError as error:
        raise SerializationError(str(error)) from error
    if found is not thing:
        raise SerializationError(f"In {module}, {qualname} is another object: a worker would find {found!r}.")
    return name


def resolve(name: Any) -> Any:
    """The class or function that a row means by this name, which may be a former one.

    A former name is one of ALIASES, one of a Job's aliases, or a name under which the old module still
    imports the code. It leads to the code's own name, which has to be one that a row may ask for. Only
    modules of installed apps and TRUSTED_MODULES are imported. Raises DeserializationError for every other
    name, and when the code is gone or cannot be imported.
    """
    if not isinstance(name, str):
        raise DeserializationError(f"{name!r} is not the name of a class or function.")
    try:
        return found_under(name)
    except DeserializationError as error:
        if ":" not in name:
            raise
        if name in settings.ALIASES:
            return resolve(settings.ALIASES[name])
        if name in _former_names:
            return found_under(_former_names[name])
        found = _imported_at(name)
        if found is _MISSING:
            if not isinstance(error.__cause__, (ModuleNotFoundError, NoneType)):
                # The module is there, and broken.
                raise
            raise type(error)(f"{str(error).rstrip('.')}. {_IF_IT_MOVED}") from error.__cause__
    return _check_own_name(name, found)


def resolve_class(name: Any) -> type:
    """As `resolve`, for the name of a class only."""
    found = resolve(name)
    if not isinstance(found, type):
        raise UnknownCode(f"{name} is not a class.")
    return found


def resolve_marked(name: Any) -> Any:
    """The instance of one of `marked_kinds` that a row means by this name, or by its former one in ALIASES.

    Its own code has marked it as one to be performed. So it may also be private, and may be in a module that
    belongs to no app but that this process has imported. Raises DeserializationError.
    """
    try:
        return _find_marked(name)
    except DeserializationError:
        if not isinstance(name, str) or name not in settings.ALIASES:
            raise
    return resolve_marked(settings.ALIASES[name])


def _find_marked(name: Any) -> Any:
    module, _, qualname = name.partition(":") if isinstance(name, str) else ("", "", "")
    if not all(part.isidentifier() for part in (*module.split("."), *qualname.split("."))):
        raise DeserializationError(f"{name!r} is not the name of a task.")
    # In a worker, __main__ is another program.
    if not is_trusted(module) and (module not in sys.modules or module == "__main__"):
        raise UnknownCode(
            f"{name} may not be named by a job: its module is not in any of INSTALLED_APPS, and nothing has"
            " imported it here; add it to DJANGO_DELAYED['TRUSTED_MODULES']."
        )
    found = _look_up(module, qualname)
    if not issubclass(type(found), tuple(marked_kinds)):
        what = "does not exist" if found is _MISSING else "is no task"
        raise UnknownCode(f"{name} {what}. If it has moved, see DJANGO_DELAYED['ALIASES'].")
    return found


def set_former_names(thing: Any, names: Sequence[str]) -> None:
    """Let waiting rows find the class by these names too. Raises TypeError for a former name of another."""
    own = ":".join(_own_name(thing))
    for name in names:
        if _former_names.setdefault(name, own) != own:
            raise TypeError(f"{name} is an alias of {_former_names[name]} already, and {own} names it too.")


@functools.lru_cache(maxsize=4096)
def found_under(name: str) -> Any:
    """The class or function that has this as its own name. Raises DeserializationError.

    It is cached: a worker performs jobs of few classes, each thousands of times.
    """
    module, qualname = _parts_of(name)
    found = _look_up(module, qualname)
    if found is _MISSING:
        raise UnknownCode(f"{name} does not exist.")
    if _own_name(found) != (module, qualname):
        raise DeserializationError(f"{name} is not defined there; jobs name code by where it is defined.")
    return found


def _imported_at(name: str) -> Any:
    """What a module imports under this name, if that has a name of its own."""
    try:
        found = _look_up(*_parts_of(name))
    except DeserializationError:
        return _MISSING
    return found if all(isinstance(part, str) for part in _own_name(found)) else _MISSING


def _check_own_name(name: str, found: Any) -> Any:
    """The found object, if its own name leads to it and a row may use that. Raises DeserializationError."""
    own = ":".join(_own_name(found))
    try:
        itself = found_under(own)
    except DeserializationError as error:
        raise DeserializationError(f"{name} is defined as {own}. {error}") from error
    if itself is not found:
        raise DeserializationError(f"{name} is defined as {own}, but that name leads to another object.")
    return found


def _parts_of(name: str) -> tuple[str, str]:
    """The module and the qualified name. Raises DeserializationError for a name that no row may have."""
    module, _, qualname = name.partition(":")
    parts = [*module.split("."), *qualname.split(".")]
    if not all(part.isidentifier() for part in parts):
        raise DeserializationError(f"{name!r} is not the name of a class or function.")
    if any(part.startswith("_") for part in parts):
        raise DeserializationError(
            f"{name} is private; jobs may only name public code in importable modules."
        )
    if not is_trusted(module):
        raise UnknownCode(
            f"{name} may not be named by a job: its module is not in any of INSTALLED_APPS (Django's do"
            " not count); add its app there, or the module to DJANGO_DELAYED['TRUSTED_MODULES']."
        )
    return module, qualname


def _look_up(module: str, qualname: str) -> Any:
    found: Any = _import(module)
    first, *inner = qualname.split(".")
    # Statically: a name from a row must not run a property or a __getattr__.
    found = inspect.getattr_static(found, first, _MISSING)
    for part in inner:
        # Only through classes: what a module imports is named by its own module.
        found = inspect.getattr_static(found, part, _MISSING) if issubclass(type(found), type) else _MISSING
    # Not isinstance(): it would evaluate a lazy object, such as settings or a SimpleLazyObject.
    return found.__func__ if type(found) is staticmethod else found


def _own_name(found: Any) -> tuple[Any, Any]:
    """The module and the qualified name of the object, as it says."""
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
        # The module runs a query while it is imported, and the database is unavailable: to be tried again.
        raise
    except Exception as error:
        kind = UnknownCode if isinstance(error, ModuleNotFoundError) else DeserializationError
        raise kind(f"{module} cannot be imported: {type(error).__name__}: {error}") from error


def _forget(*, setting: str, **_: Any) -> None:
    if setting in ("INSTALLED_APPS", "DJANGO_DELAYED"):
        _name_of.cache_clear()
        found_under.cache_clear()
        _trusted_packages.cache_clear()


setting_changed.connect(_forget)
