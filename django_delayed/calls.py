"""delay(), DelayMixin and handle_asynchronously: calls that become jobs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partialmethod
from typing import TYPE_CHECKING, Any

from django.db import models

from . import arguments, registry
from .enqueueing import enqueue
from .exceptions import DeserializationError, SerializationError
from .jobs import Job
from .options import check_options, merge_options
from .records import subject_of

if TYPE_CHECKING:
    from .models import DelayedJob

_MISSING = object()
_METHODS = (classmethod, staticmethod, partialmethod)


@dataclass(frozen=True)
class Call:
    """What is called: a function, or the public method of a model instance or of a class.

    `owner` is the class that defines a method decorated with `handle_asynchronously`: exactly that one is called.
    """

    target: Any
    method: str = ""
    owner: type | None = None

    @property
    def name(self) -> str:
        """ "Post.send_to_twitter", or the name of the function."""
        if not self.method:
            return str(self.target.__qualname__)
        return f"{(self.owner or _class_of(self.target)).__qualname__}.{self.method}"

    @property
    def function(self) -> Callable[..., Any]:
        """What to call now. Raises AttributeError or TypeError when the method is not (any more) one for a job."""
        if not self.method:
            return self.target  # type: ignore[no-any-return]
        defined = find_method(self.target, self.method, self.owner)
        if isinstance(defined, AsynchronousMethod):
            defined = defined.method
        instance, cls = (
            (None, self.target) if isinstance(self.target, type) else (self.target, type(self.target))
        )
        return defined.__get__(instance, cls)  # type: ignore[no-any-return]

    def dump(self) -> dict[str, Any]:
        """The part of the payload that says what is called. Raises SerializationError."""
        if not self.method:
            return {"function": registry.name_of(self.target)}
        if isinstance(self.target, type) and not issubclass(self.target, models.Model):
            data = {"class": registry.name_of(self.target), "method": self.method}
        else:
            data = {"target": arguments.encode(self.target), "method": self.method}
        return data | {"owner": registry.name_of(self.owner)} if self.owner else data

    @classmethod
    def load(cls, payload: dict[str, Any]) -> Call:
        """The call again. Raises DeserializationError when the code or the record is gone."""
        if "function" in payload:
            function = registry.resolve(payload["function"])
            if not inspect.isfunction(function) and isinstance(function, type):
                raise DeserializationError(f"{payload['function']} is not a function.")
            return cls(function)
        target = (
            registry.resolve(payload["class"]) if "class" in payload else arguments.decode(payload["target"])
        )
        owner = registry.resolve(payload["owner"]) if "owner" in payload else None
        call = cls(target, payload["method"], owner)
        try:
            _ = call.function
        except (AttributeError, TypeError) as error:
            raise DeserializationError(str(error)) from error
        return call


class CallJob(Job):
    """A call that was delayed."""

    def perform(self, call: Call, /, *args: Any, **kwargs: Any) -> Any:
        """Call it, with what is defined under that name now."""
        return call.function(*args, **kwargs)

    @property
    def call(self) -> Call:
        """What is called."""
        return self.args[0]  # type: ignore[no-any-return]

    @property
    def name(self) -> str:
        return self.call.name

    @property
    def about(self) -> Any:
        return self.call.target

    @property
    def subject(self) -> str:
        return subject_of(self.call.target, *self.args[1:], *self.kwargs.values())

    def dump_arguments(self) -> dict[str, Any]:
        return {**self.call.dump(), **arguments.encode_call(self.args[1:], self.kwargs)}

    @classmethod
    def load_arguments(cls, payload: dict[str, Any]) -> CallJob:
        args, kwargs = arguments.decode(payload["args"]), arguments.decode(payload["kwargs"])
        return cls(Call.load(payload), *args, **kwargs)


def delay(target: Any, **options: Any) -> Any:
    """A stand-in for `target` whose calls become jobs; each returns the DelayedJob.

    `delay(function)(…)`, `delay(instance.method)(…)`, `delay(instance).method(…)`, `delay(Class).class_method(…)`.
    Options as everywhere: queue, priority, run_at or wait_until, wait. Raises TypeError for what is none of these.
    """
    checked = check_options(options)
    if inspect.ismethod(target):
        return getattr(DelayProxy(target.__self__, checked), target.__name__)
    if isinstance(target, BoundAsynchronousMethod):
        return getattr(DelayProxy(target.target, checked), target.method.name)
    if isinstance(target, (type, models.Model)):
        return DelayProxy(target, checked)
    if inspect.isfunction(target) or (callable(target) and hasattr(target, "__wrapped__")):
        return DelayedCall(Call(target), checked)
    raise TypeError(
        f"delay() takes a function, a bound method, a saved model instance or a class, not {type(target).__name__}: "
        "a worker could not come back to it."
    )


class DelayProxy:
    """A stand-in for a model instance or a class: calling a method on it enqueues that call."""

    def __init__(self, target: Any, options: dict[str, Any]) -> None:
        self._target = target
        self._options = options

    def __getattr__(self, method: str) -> DelayedCall:
        defined = find_method(self._target, method)
        if isinstance(defined, AsynchronousMethod):
            return defined.delayed(self._target, self._options)
        return DelayedCall(Call(self._target, method), self._options)

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError(
            f"Name the method to call: {_class_of(self._target).__qualname__}.delay(…).method(…)."
        )


class DelayedCall:
    """A call that waits for its arguments."""

    def __init__(self, call: Call, options: dict[str, Any]) -> None:
        self._call = call
        self._options = options

    def __call__(self, *args: Any, **kwargs: Any) -> DelayedJob | None:
        function = self._call.function
        if inspect.iscoroutinefunction(function):
            raise TypeError(
                f"{self._call.name} is async, which is not supported yet; delay a plain function."
            )
        _check_fit(self._call.name, function, args, kwargs)
        return enqueue(CallJob(self._call, *args, **kwargs), **self._options)


class _Delay:
    """`delay` of the mixin: on an instance it is about that instance, on the class about the class."""

    def __get__(self, instance: Any, owner: type) -> Callable[..., Any]:
        target = owner if instance is None else instance
        return lambda **options: DelayProxy(target, check_options(options))


class DelayMixin:
    """Gives a model `post.delay(…).method(…)` and `Post.delay(…).class_method(…)`, with the options of a job."""

    delay = _Delay()


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
            raise TypeError(
                f"{method.method.__qualname__} is handled asynchronously already; decorate it once."
            )
        if not inspect.isfunction(method) and not isinstance(method, (classmethod, staticmethod)):
            raise TypeError(f"handle_asynchronously is for methods, not for a {type(method).__name__}.")
        if inspect.iscoroutinefunction(getattr(method, "__func__", method)):
            raise TypeError(f"{method.__qualname__} is async, which is not supported yet.")
        if method.__name__.startswith("_"):
            raise TypeError(f"{method.__qualname__} is private; a job may only name public methods.")
        self.method = method
        self.name: str = method.__name__
        self.owner: type | None = None
        self.options = options
        self.__doc__ = method.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.owner, self.name = owner, name

    def __get__(self, instance: Any, owner: type) -> BoundAsynchronousMethod:
        return BoundAsynchronousMethod(self, owner if instance is None else instance)

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError(
            f"{self.method.__qualname__}: handle_asynchronously is for methods and stands outside @classmethod and "
            "@staticmethod; for a function, write delay(function)(…)."
        )

    def delayed(self, target: Any, options: dict[str, Any]) -> DelayedCall:
        """The call on this target, with options that win over the decorator's."""
        return DelayedCall(Call(target, self.name, self.owner), merge_options(self.options, options))


class BoundAsynchronousMethod:
    """A method with its instance or class: calling it enqueues, `.now(…)` calls it."""

    alters_data = True  # a template that names it must not enqueue a job

    def __init__(self, method: AsynchronousMethod, target: Any) -> None:
        self.method = method
        self.target = target
        self.__doc__ = method.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> DelayedJob | None:
        _check_target(self.target, self.method.name, self.method)
        return self.method.delayed(self.target, {})(*args, **kwargs)

    def now(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method here and at once; returns what it returns."""
        instance, cls = (
            (None, self.target) if isinstance(self.target, type) else (self.target, type(self.target))
        )
        return self.method.method.__get__(instance, cls)(*args, **kwargs)


def find_method(target: Any, name: str, owner: type | None = None) -> Any:
    """The method as its class defines it, not bound. Raises AttributeError or TypeError when no job may call it."""
    cls = _class_of(target)
    if owner is not None and not issubclass(cls, owner):
        raise TypeError(f"{cls.__qualname__} is no {owner.__qualname__} (any more).")
    if name.startswith("_"):
        raise AttributeError(f"{cls.__qualname__}.{name} is private; a job may only call public methods.")
    classes = [owner] if owner else cls.__mro__
    defined = next((vars(c)[name] for c in classes if name in vars(c)), _MISSING)
    if defined is _MISSING:
        raise AttributeError(f"{cls.__qualname__} has no method {name!r}.")
    if isinstance(defined, (type, property, cached_property)) or not hasattr(defined, "__get__"):
        raise TypeError(f"{cls.__qualname__}.{name} is not a method, so it cannot be delayed.")
    if not callable(defined) and not isinstance(defined, _METHODS):
        raise TypeError(f"{cls.__qualname__}.{name} is not a method, so it cannot be delayed.")
    _check_target(target, name, defined)
    return defined


def _check_target(target: Any, name: str, defined: Any) -> None:
    method = defined.method if isinstance(defined, AsynchronousMethod) else defined
    if isinstance(target, type) and not isinstance(method, (classmethod, staticmethod)):
        raise TypeError(
            f"{target.__qualname__}.{name} is a method of instances; call it on one, as in instance.delay().{name}(…)."
        )
    if not isinstance(target, (type, models.Model)):
        raise TypeError(
            f"A {type(target).__name__} cannot be found by a worker; only saved model instances can."
        )


def _check_fit(name: str, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some of C's functions do not tell
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name}(): {error}.") from None


def _class_of(target: Any) -> type:
    return target if isinstance(target, type) else type(target)
