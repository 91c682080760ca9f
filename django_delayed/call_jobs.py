"""CallJob: a call as a job, from the moment it waits for its arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import models

from . import arguments, registry
from .enqueueing import enqueue
from .exceptions import DeserializationError
from .jobs import Job
from .methods import bind, check_fit, check_kind, class_of, find_method, is_function, undelayed
from .records import subject_of

if TYPE_CHECKING:
    from .models import DelayedJob

Options = tuple[dict[str, Any], ...]  # layers of checked options, the uppermost last


@dataclass(frozen=True)
class Call:
    """What is called: a function, or the public method of a model instance or of a class.

    `owner` is the class that defines a method decorated with `handle_asynchronously`: exactly that one is
    called.
    """

    target: Any
    method: str = ""
    owner: type | None = None

    @property
    def name(self) -> str:
        """ "Post.send_to_twitter", or the name of the function."""
        if not self.method:
            return str(self.target.__qualname__)
        return f"{(self.owner or class_of(self.target)).__qualname__}.{self.method}"

    @property
    def function(self) -> Callable[..., Any]:
        """What to call now. Raises AttributeError or TypeError when the method is not one for a job."""
        if not self.method:
            return self.target
        return bind(self.target, undelayed(find_method(self.target, self.method, self.owner)))

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
            if not is_function(function):
                raise DeserializationError(f"{payload['function']} is not a function.")
            return cls(function)
        method = payload.get("method")
        if not isinstance(method, str) or not method.isidentifier():
            raise DeserializationError(f"The payload names no method in {method!r}.")
        call = cls(_load_target(payload), method, _load_owner(payload))
        try:
            _ = call.function
        except (AttributeError, TypeError) as error:
            raise DeserializationError(str(error)) from error
        return call


def _load_target(payload: dict[str, Any]) -> Any:
    if "class" not in payload:
        return arguments.decode(payload["target"])
    return registry.resolve_class(payload["class"])


def _load_owner(payload: dict[str, Any]) -> type | None:
    return registry.resolve_class(payload["owner"]) if "owner" in payload else None


class CallJob(Job):
    """A call that was delayed."""

    def perform(self, call: Call, /, *args: Any, **kwargs: Any) -> Any:
        """Call it, with what is defined under that name now."""
        return call.function(*args, **kwargs)

    @property
    def call(self) -> Call:
        """What is called."""
        return self.args[0]

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
        args, kwargs = arguments.decode_call(payload)
        call = Call.load(payload)
        check_fit(call.name, call.function, args, kwargs)
        return cls(call, *args, **kwargs)


class DelayedCall:
    """A call that waits for its arguments."""

    alters_data = True

    def __init__(self, call: Call, options: Options) -> None:
        self._call = call
        self._options = options

    def __call__(self, /, *args: Any, **kwargs: Any) -> DelayedJob | None:
        function = self._call.function
        check_kind(self._call.name, function)
        check_fit(self._call.name, function, args, kwargs)
        job = CallJob(self._call, *args, **kwargs)
        job.options = self._options
        return enqueue(job)
