"""delay() and DelayMixin: stand-ins that make jobs of method calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, Unpack, overload

from django.db import models

from ..jobs import Job
from ..options import JobOptions, Layers, check_options
from .asynchronous import AsynchronousMethod, BoundAsynchronousMethod
from .call import Call, DelayedCall, delayed
from .methods import class_of, find_method, is_function

P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound=models.Model)


# For a type checker, the stand-in has the type of its target: it knows the methods and their arguments.
@overload
def delay(target: type[T], **options: Unpack[JobOptions]) -> type[T]: ...  # type: ignore[overload-overlap]
@overload
def delay(target: M, **options: Unpack[JobOptions]) -> M: ...
@overload
def delay(target: Callable[P, Any], **options: Unpack[JobOptions]) -> DelayedCall[P]: ...
def delay(target: Any, **options: Any) -> Any:
    """A stand-in for `target` that makes a job of each call; each call returns the DelayedJob.

    `delay(function)(…)`, `delay(instance.method)(…)`, `delay(instance).method(…)`,
    `delay(Class).class_method(…)`. Options are those of `enqueue`. Raises TypeError for any other target,
    TypeError or ValueError for wrong options.
    """
    layers: Layers = (check_options(options),)
    # This comes first, as inspect.ismethod() is true for it too.
    if isinstance(target, BoundAsynchronousMethod):
        return target.delayed(layers)
    if inspect.ismethod(target):
        _check_is_found(target)
        return getattr(DelayProxy(target.__self__, layers), target.__name__)
    if isinstance(target, (type, models.Model)):
        return DelayProxy(target, layers)
    if is_function(target):
        return delayed(Call(target), layers)
    if isinstance(target, Job):
        raise TypeError("A Job needs no delay(): write enqueue(job), with the options of delay().")
    raise TypeError(
        f"delay() takes a function, a bound method, a saved model instance or a class, not "
        f"{type(target).__name__}, which a worker could not find."
    )


def _check_is_found(method: Any) -> None:
    target, name = method.__self__, method.__name__
    # super().save, for example: by its name, the worker would find the override that calls it.
    if getattr(target, name, None) != method:
        raise TypeError(
            f"{method.__qualname__} is not what {class_of(target).__qualname__} has as {name}, so a worker "
            "would call another method; delay one under its own name."
        )


def delayed_method(target: Any, name: str, layers: Layers) -> DelayedCall[...]:
    """The method of a model instance or a class, waiting for its arguments."""
    defined = find_method(target, name)
    if isinstance(defined, AsynchronousMethod):
        return defined.delayed(target, layers)
    return delayed(Call(target, name, defined=defined), layers)


class DelayProxy:
    """A stand-in for a model instance or a class: calling a method on it enqueues that call.

    `find` returns the call of the method with a name, which waits for its arguments.
    """

    # A template that names it must not enqueue a job.
    alters_data = True

    def __init__(
        self,
        target: Any,
        layers: Layers,
        find: Callable[[Any, str, Layers], DelayedCall[...]] = delayed_method,
    ) -> None:
        self._target = target
        self._layers = layers
        self._find = find

    def __getattr__(self, name: str) -> DelayedCall[...]:
        return self._find(self._target, name, self._layers)

    def __repr__(self) -> str:
        return f"<delay of {class_of(self._target).__qualname__}, with nothing enqueued: call a method>"

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        name = class_of(self._target).__qualname__
        if issubclass(class_of(self._target), Job):
            raise TypeError(f"A Job needs no delay(): write {name}.perform_later(…).")
        raise TypeError(f"Name the method to call: {name}.delay(…).method(…).")


class _Delay:
    """`delay` of the mixin: on an instance it delays calls on that, on the class calls on the class."""

    @overload
    def __get__(self, instance: None, owner: type[T]) -> _DelayOf[type[T]]: ...
    @overload
    def __get__(self, instance: T, owner: type[T]) -> _DelayOf[T]: ...
    def __get__(self, instance: Any, owner: type) -> _DelayOf[Any]:
        return _DelayOf(owner if instance is None else instance)


class _DelayOf(Generic[T]):
    """`post.delay`, which still has to be called."""

    # A template that names it must not call it.
    alters_data = True

    def __init__(self, target: Any) -> None:
        self._target = target

    def __call__(self, **options: Unpack[JobOptions]) -> T:
        proxy: Any = DelayProxy(self._target, (check_options(options),))
        return proxy

    # Hidden from type checkers, so that they report such a name as missing.
    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> None:
            raise AttributeError(
                f"delay has to be called: write .delay().{name}(…), with parentheses after delay."
            )


class DelayMixin:
    """Gives a model `post.delay(…).method(…)` and `Post.delay(…).class_method(…)`, with a job's options."""

    delay = _Delay()


# The migrations of users' models name their base classes, so this path must not change.
DelayMixin.__module__ = "django_delayed"
