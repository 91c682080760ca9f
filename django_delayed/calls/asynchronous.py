"""handle_asynchronously: a method whose every call becomes a job."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from ..jobs.signatures import check_kind
from ..options import Layers, Options, check_options
from .call import Call, DelayedCall, delayed
from .methods import bind

if TYPE_CHECKING:
    from ..models import DelayedJob


def handle_asynchronously(method: Any = None, **options: Any) -> Any:
    """Decorate a method so that each call of it is enqueued; `.now(…)` calls it at once.

    Used bare or with the options of a job, outside `@classmethod` and `@staticmethod`. Raises TypeError or
    ValueError for other uses and for wrong options, when the class is defined.
    """
    checked = check_options(options)
    if method is None:
        return lambda method: AsynchronousMethod(method, checked)
    return AsynchronousMethod(method, checked)


class AsynchronousMethod:
    """A method whose calls become jobs; knows the class that defines it."""

    undelayed: Any = None

    def __init__(self, method: Any, options: Options) -> None:
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
        # Without an owner it stands inside a @classmethod, or was not defined in a class body.
        if self.owner is None:
            raise self._misplaced()
        return BoundAsynchronousMethod(self, owner if instance is None else instance)

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        raise self._misplaced()

    def _misplaced(self) -> TypeError:
        return TypeError(
            f"{self.__qualname__}: handle_asynchronously is for methods that a class body defines, and "
            "stands outside @classmethod, @staticmethod and @property; for a function, write "
            "delay(function)(…)."
        )

    def delayed(self, target: Any, layers: Layers) -> DelayedCall:
        """The call on this target, with options that win over the decorator's."""
        return delayed(Call(target, self.name, self.owner, self), (self.options, *layers))


class BoundAsynchronousMethod:
    """A method with its instance or class: calling it enqueues, `.now(…)` calls it."""

    # A template that names it must not enqueue a job.
    alters_data = True

    def __init__(self, method: AsynchronousMethod, target: Any) -> None:
        self.method = method
        self.target = target
        self.__doc__, self.__name__ = method.__doc__, method.__name__

    def __call__(self, /, *args: Any, **kwargs: Any) -> DelayedJob | None:
        return self.delayed(())(*args, **kwargs)

    def delayed(self, layers: Layers) -> DelayedCall:
        """The call with these options, not yet enqueued."""
        return self.method.delayed(self.target, layers)

    def now(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the method here and at once; returns what it returns."""
        return bind(self.target, self.method.undelayed)(*args, **kwargs)
