"""handle_asynchronously: every call of a method becomes a job."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, Unpack, overload

from ..jobs.signatures import check_kind
from ..options import JobOptions, Layers, Options, check_options
from .call import Call, DelayedCall, delayed
from .methods import bind

if TYPE_CHECKING:
    from ..models import DelayedJob

P = ParamSpec("P")
R = TypeVar("R")

# The methods that enqueue a call in other task queues.
OF_OTHER_SYSTEMS = {"delay", "apply_async", "perform_later", "perform_async", "enqueue"}


class Decorator(Protocol):
    """What `handle_asynchronously(**options)` returns, for type checkers."""

    @overload
    def __call__(self, method: Callable[Concatenate[Any, P], R], /) -> AsynchronousMethod[P, R]: ...
    @overload
    def __call__(
        self, method: classmethod[Any, P, R] | staticmethod[P, R], /
    ) -> AsynchronousMethod[P, R]: ...


@overload
def handle_asynchronously(method: Callable[Concatenate[Any, P], R], /) -> AsynchronousMethod[P, R]: ...
@overload
def handle_asynchronously(
    method: classmethod[Any, P, R] | staticmethod[P, R], /
) -> AsynchronousMethod[P, R]: ...
@overload
def handle_asynchronously(**options: Unpack[JobOptions]) -> Decorator: ...
def handle_asynchronously(method: Any = None, **options: Any) -> Any:
    """Decorate a method so that each call of it is enqueued; `.now(…)` calls it at once.

    Used bare or with the options of a job, outside `@classmethod` and `@staticmethod`. Raises TypeError or
    ValueError for other uses and for wrong options, when the class is defined.
    """
    checked = check_options(options)
    if method is None:
        return lambda method: AsynchronousMethod(method, checked)
    return AsynchronousMethod(method, checked)


class AsynchronousMethod(Generic[P, R]):
    """A method that makes jobs of its calls; knows the class that defines it.

    It has the attributes of the method, including those that other decorators have set.
    """

    undelayed: Any = None

    def __init__(self, method: Any, options: Options) -> None:
        if isinstance(method, (AsynchronousMethod, BoundAsynchronousMethod)):
            raise TypeError(f"{method.__qualname__} is handled asynchronously already; decorate it once.")
        if not inspect.isfunction(method) and not isinstance(method, (classmethod, staticmethod)):
            raise TypeError(f"handle_asynchronously is for methods, not for {type(method).__name__} objects.")
        check_kind(method.__qualname__, method, may_be_async=True)
        if method.__name__.startswith("_"):
            raise TypeError(f"{method.__qualname__} is private; a job may only name public methods.")
        # This comes first: an attribute of the method may have the name of one of ours.
        functools.update_wrapper(self, method)  # type: ignore[arg-type]
        self.__qualname__: str = method.__qualname__
        self.undelayed = method
        self.name: str = method.__name__
        self.owner: type | None = None
        self.options = options

    def __set_name__(self, owner: type, name: str) -> None:
        self.owner, self.name = owner, name

    def __get__(self, instance: Any, owner: type) -> BoundAsynchronousMethod[P, R]:
        # Without an owner, it is inside a @classmethod, or was not defined in a class body.
        if self.owner is None:
            raise self._misplaced()
        return BoundAsynchronousMethod(self, owner if instance is None else instance)

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        raise self._misplaced()

    def _misplaced(self) -> TypeError:
        return TypeError(
            f"{self.undelayed.__qualname__}: handle_asynchronously is for methods that a class body defines."
            " Put it above @classmethod or @staticmethod, not on a property; for a function, write "
            "delay(function)(…)."
        )

    def delayed(self, target: Any, layers: Layers) -> DelayedCall[P]:
        """The call on this target, with options that override the decorator's."""
        call: DelayedCall[Any] = delayed(Call(target, self.name, self.owner, self), (self.options, *layers))
        return call


class BoundAsynchronousMethod(Generic[P, R]):
    """A method with its instance or class: calling it enqueues, `.now(…)` calls it.

    `inspect`, Django's signals and packages that look for marked methods see the method or the function that
    it would be without the decorator.
    """

    # A template that names it must not enqueue a job.
    alters_data = True

    def __init__(self, method: AsynchronousMethod[P, R], target: Any) -> None:
        self.method = method
        self.target = target
        self.__doc__, self.__module__ = method.__doc__, method.__module__
        self.__wrapped__ = method.undelayed
        if not isinstance(target, type) or isinstance(method.undelayed, classmethod):
            self.__self__, self.__func__ = target, method

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        # inspect.ismethod() and inspect.isfunction() call isinstance(), and packages find methods with them.
        return MethodType if "__self__" in vars(self) else FunctionType

    def __getattr__(self, name: str) -> Any:
        if name in OF_OTHER_SYSTEMS and not hasattr(self.method.undelayed, name):
            raise AttributeError(
                f"A call of {self.__qualname__} is enqueued without {name}(): write .{self.__name__}(…), or"
                f" with options .delay(…).{self.__name__}(…)."
            )
        return getattr(self.method.undelayed, name)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> DelayedJob | None:
        return self.delayed(())(*args, **kwargs)

    def delayed(self, layers: Layers) -> DelayedCall[P]:
        """The call with these options, not yet enqueued."""
        return self.method.delayed(self.target, layers)

    def now(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the method here and at once. Returns what it returns."""
        return bind(self.target, self.method.undelayed)(*args, **kwargs)
