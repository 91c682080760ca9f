"""delay(), DelayMixin and handle_asynchronously: calls that become jobs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.db import models

from .call_jobs import Call, DelayedCall, Options
from .methods import bind, check_kind, check_target, class_of, find_method, is_function, target_of
from .options import check_options

if TYPE_CHECKING:
    from .models import DelayedJob


def delay(target: Any, **options: Any) -> Any:
    """A stand-in for `target` whose calls become jobs; each returns the DelayedJob.

    `delay(function)(…)`, `delay(instance.method)(…)`, `delay(instance).method(…)`,
    `delay(Class).class_method(…)`. Options as everywhere: queue, priority, run_at or wait_until, wait.
    Raises TypeError for what is none of these.
    """
    layers: Options = (check_options(options),)
    if inspect.ismethod(target):
        _check_is_found(target)
        return getattr(DelayProxy(target.__self__, layers), target.__name__)
    if isinstance(target, BoundAsynchronousMethod):
        return target.delayed(layers)
    if isinstance(target, (type, models.Model)):
        return DelayProxy(target, layers)
    if is_function(target):
        return DelayedCall(Call(target), layers)
    raise TypeError(
        f"delay() takes a function, a bound method, a saved model instance or a class, not "
        f"{type(target).__name__}: a worker could not come back to it."
    )


def _check_is_found(method: Any) -> None:
    target, name = method.__self__, method.__name__
    # A super().save, say: by its name, the worker would find the override that calls it.
    if getattr(target, name, None) != method:
        raise TypeError(
            f"{method.__qualname__} is not what {class_of(target).__qualname__} has as {name}, so a worker "
            "would call another one; delay a method of its own name."
        )


class DelayProxy:
    """A stand-in for a model instance or a class: calling a method on it enqueues that call."""

    alters_data = True  # a template that names it must not enqueue a job

    def __init__(self, target: Any, options: Options) -> None:
        self._target = target
        self._options = options

    def __getattr__(self, method: str) -> DelayedCall:
        defined = find_method(self._target, method)
        if isinstance(defined, AsynchronousMethod):
            return defined.delayed(self._target, self._options)
        return DelayedCall(Call(target_of(self._target, defined), method), self._options)

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError(f"Name the method to call: {class_of(self._target).__qualname__}.delay(…).method(…).")


class _Delay:
    """`delay` of the mixin: on an instance it is about that instance, on the class about the class."""

    def __get__(self, instance: Any, owner: type) -> Callable[..., Any]:
        target = owner if instance is None else instance
        return lambda **options: DelayProxy(target, (check_options(options),))


class DelayMixin:
    """Gives a model `post.delay(…).method(…)` and `Post.delay(…).class_method(…)`, with a job's options."""

    delay = _Delay()


# The migrations of users' models name their bases; this is the path that has to stay.
DelayMixin.__module__ = "django_delayed"


def handle_asynchronously(method: Any = None, **options: Any) -> Any:
    """Decorate a method so that each call of it is enqueued; `.now(…)` calls it at once.

    Bare or with options. It stands outside `@classmethod` and `@staticmethod`.
    Raises TypeError where it cannot stand, and for wrong options, when the class is defined.
    """
    checked = check_options(options)
    if method is None:
        return lambda method: AsynchronousMethod(method, checked)
    return AsynchronousMethod(method, checked)


class AsynchronousMethod:
    """A method whose calls become jobs; knows the class that defines it."""

    def __init__(self, method: Any, options: dict[str, Any]) -> None:
        if isinstance(method, AsynchronousMethod):
            raise TypeError(f"{method.__qualname__} is handled asynchronously already; decorate it once.")
        if not inspect.isfunction(method) and not isinstance(method, (classmethod, staticmethod)):
            raise TypeError(f"handle_asynchronously is for methods, not for a {type(method).__name__}.")
        check_kind(method.__qualname__, method)
        if method.__name__.startswith("_"):
            raise TypeError(f"{method.__qualname__} is private; a job may only name public methods.")
        self.undelayed = method
        self.name: str = method.__name__
        self.owner: type | None = None
        self.options = options
        self.__doc__ = method.__doc__
        self.__name__: str = method.__name__
        self.__qualname__: str = method.__qualname__

    def __set_name__(self, owner: type, name: str) -> None:
        self.owner, self.name = owner, name

    def __get__(self, instance: Any, owner: type) -> BoundAsynchronousMethod:
        if self.owner is None:
            self()  # inside a @classmethod, or not defined in a class body
        return BoundAsynchronousMethod(self, owner if instance is None else instance)

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError(
            f"{self.__qualname__}: handle_asynchronously is for methods that a class body defines, and "
            "stands outside @classmethod, @staticmethod and @property; for a function, write "
            "delay(function)(…)."
        )

    def delayed(self, target: Any, options: Options) -> DelayedCall:
        """The call on this target, with options that win over the decorator's."""
        call = Call(target_of(target, self.undelayed), self.name, self.owner)
        return DelayedCall(call, (self.options, *options))


class BoundAsynchronousMethod:
    """A method with its instance or class: calling it enqueues, `.now(…)` calls it."""

    alters_data = True

    def __init__(self, method: AsynchronousMethod, target: Any) -> None:
        self.method = method
        self.target = target
        self.__doc__, self.__name__ = method.__doc__, method.__name__

    def __call__(self, /, *args: Any, **kwargs: Any) -> DelayedJob | None:
        return self.delayed(())(*args, **kwargs)

    def delayed(self, options: Options) -> DelayedCall:
        """The call with these options, not yet enqueued."""
        check_target(self.target, self.method.name, self.method.undelayed)
        return self.method.delayed(self.target, options)

    def now(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the method here and at once; returns what it returns."""
        return bind(self.target, self.method.undelayed)(*args, **kwargs)
