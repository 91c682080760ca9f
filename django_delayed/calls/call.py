"""A call as a job: what is called, the job that calls it, and the call that waits for its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, ParamSpec

from django.db import models

from ..enqueueing import enqueue
from ..exceptions import DeserializationError, UnknownCode
from ..jobs import Job
from ..jobs.event_loop import awaited
from ..jobs.signatures import check_fit, check_kind
from ..options import Layers
from ..serialization import arguments, names
from ..serialization.records import about_of
from .methods import (
    bind,
    check_code,
    check_public,
    check_target,
    class_of,
    find_method,
    is_function,
    target_of,
    undelayed,
)

if TYPE_CHECKING:
    from ..models import DelayedJob


P = ParamSpec("P")


class Call:
    """What is called: a function, or the public method of a model instance or of a class.

    `owner` is the class that defines a method decorated with `handle_asynchronously`: exactly that method is
    called, not an override. `defined` is the method as its class has it; without it, the method is looked up.
    Raises AttributeError or TypeError for a method that no job may call.
    """

    def __init__(self, target: Any, method: str = "", owner: type | None = None, defined: Any = None) -> None:
        self.target = target
        self.method = method
        self.owner = owner
        self.function: Callable[..., Any] = target
        if method:
            check_public(class_of(target), method)
            plain = undelayed(find_method(target, method, owner) if defined is None else defined)
            check_target(target, method, plain)
            check_code(target, method, plain)
            self.target = target_of(target, plain)
            self.function = bind(target, plain)

    @property
    def name(self) -> str:
        """ "Post.send_to_twitter", or the name of the function."""
        if not self.method:
            return str(self.target.__qualname__)
        return f"{(self.owner or class_of(self.target)).__qualname__}.{self.method}"

    def dump(self) -> dict[str, Any]:
        """The part of the payload that says what is called. Raises SerializationError."""
        if not self.method:
            return {"function": names.name_of(self.target)}
        if isinstance(self.target, type) and not issubclass(self.target, models.Model):
            data = {"class": names.name_of(self.target), "method": self.method}
        else:
            data = {"target": arguments.encode(self.target), "method": self.method}
        return data | {"owner": names.name_of(self.owner)} if self.owner else data

    @classmethod
    def load(cls, payload: dict[str, Any]) -> Call:
        """The call in a payload. Raises DeserializationError when its code or its record is gone."""
        if "function" in payload:
            function = names.resolve(payload["function"])
            if not is_function(function):
                raise UnknownCode(f"{payload['function']} is not a function.")
            return cls(function)
        method = method_in(payload)
        if "class" in payload:
            target: Any = names.resolve_class(payload["class"])
        else:
            target = arguments.decode(payload.get("target"))
        owner = names.resolve_class(payload["owner"]) if "owner" in payload else None
        try:
            return cls(target, method, owner)
        except (AttributeError, TypeError) as error:
            raise UnknownCode(str(error)) from error


def method_in(payload: dict[str, Any]) -> str:
    """The name of the method in a payload. Raises DeserializationError without one."""
    method = payload.get("method")
    if not isinstance(method, str) or not method.isidentifier():
        raise DeserializationError(f"The payload names no method in {method!r}.")
    return method


class CallJob(Job, tag="call"):
    """A call that was delayed. Raises TypeError for arguments that do not fit what is called."""

    def __init__(self, call: Call, /, *args: Any, **kwargs: Any) -> None:
        check_fit(call.name, call.function, args, kwargs)
        self.call = call
        self.args = args
        self.kwargs = kwargs

    def perform(self, *args: Any, **kwargs: Any) -> Any:
        """Call it, and await what an async function returns."""
        return awaited(self.call.function(*args, **kwargs))

    @property
    def name(self) -> str:
        return self.call.name

    @property
    def target(self) -> Any:
        return self.call.target

    @property
    def about(self) -> str:
        return about_of(self.call.target, *self.args, *self.kwargs.values())

    def dump_arguments(self) -> dict[str, Any]:
        return {**self.call.dump(), **super().dump_arguments()}

    @classmethod
    def load_arguments(cls, payload: dict[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        args, kwargs = super().load_arguments(payload)
        return (Call.load(payload), *args), kwargs


class DelayedCall(Generic[P]):
    """A call that waits for its arguments: called with them, it enqueues the job that `make_job` returns."""

    # A template that names it must not enqueue a job.
    alters_data = True

    def __init__(self, make_job: Callable[..., Job], layers: Layers) -> None:
        self._make_job = make_job
        self._layers = layers

    def __repr__(self) -> str:
        return "<a delayed call that is not enqueued: call it>"

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> DelayedJob | None:
        return enqueue(self.job(*args, **kwargs))

    def job(self, /, *args: P.args, **kwargs: P.kwargs) -> Job:
        """The job with these arguments, not enqueued."""
        job = self._make_job(*args, **kwargs)
        job.layers = self._layers
        return job


def delayed(call: Call, layers: Layers) -> DelayedCall[...]:
    """The call with these options, waiting for its arguments. Raises TypeError for a generator function."""
    check_kind(call.name, call.function, may_be_async=True)
    return DelayedCall(partial(CallJob, call), layers)
