"""DelayedTask: a task with the options of a job; the check of a task, and how a row names one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NoReturn, TypeVar

from ..conf import count, from_now, positive_duration, queue_name
from ..exceptions import DeserializationError
from ..features.unique.definition import Unique, unique_option
from ..jobs.rules import is_error
from ..serialization import arguments, names
from .compat import AnyResult, AnyTask, InvalidTask, Task

T = TypeVar("T", bound="AnyTask | AnyResult")

# What `using` can change in a task; a worker finds the rest in the task's module.
USING = ("priority", "queue_name", "run_after", "backend")


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayedTask(Task):  # type: ignore[type-arg]
    """A task with the policy of a Job, as `@task(max_attempts=5)` takes it where the decorator can.

    `wait_before_retry` is a duration, or a function of (attempts, error) that returns one. A field that is
    None has the default of every job.
    """

    max_attempts: int | None = None
    max_run_time: timedelta | float | None = None
    wait_before_retry: timedelta | float | Callable[[int, BaseException], timedelta | float] | None = None
    discard_on: tuple[type[BaseException], ...] = ()
    unique: Unique | bool | None = None


names.marked_kinds.append(Task)


def changed(one: T, **changes: Any) -> T:
    """The task, or result, with these changes: itself, or a copy. Unlike `using`, this does not validate."""
    if all(getattr(one, name) == value for name, value in changes.items()):
        return one
    kind: Any = type(one)
    copy: T = object.__new__(kind)
    for name in _names_of_fields(kind):
        object.__setattr__(copy, name, changes[name] if name in changes else getattr(one, name))
    return copy


@cache
def _names_of_fields(kind: type[AnyTask | AnyResult]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def check_options(task: AnyTask) -> None:
    """Raise InvalidTask for what Django's own check ignores or cannot read."""
    try:
        queue_name(task.queue_name, "queue_name")
        _check_numbers(task)
        _check_own_options(task)
    except (TypeError, ValueError) as error:
        raise InvalidTask(str(error)) from error


def _check_numbers(task: AnyTask) -> None:
    if not isinstance(task.priority, int | float) or not math.isfinite(task.priority):
        raise TypeError(f"priority must be a whole number, not {task.priority!r}.")
    if not isinstance(task.run_after, datetime | timedelta | None):
        raise TypeError(f"run_after must be a datetime or a timedelta, not {task.run_after!r}.")


def _check_own_options(task: AnyTask) -> None:
    checks: dict[str, Callable[[Any, str], Any]] = {
        "max_attempts": count,
        "max_run_time": positive_duration,
        "wait_before_retry": lambda wait, name: callable(wait) or from_now(wait, name),
        "unique": unique_option,
    }
    for name, check in checks.items():
        if (value := getattr(task, name, None)) is not None:
            check(value, name)
    errors = getattr(task, "discard_on", ())
    if not isinstance(errors, tuple) or not all(map(is_error, errors)):
        raise TypeError(f"discard_on must be a tuple of exception classes, not {errors!r}.")


def name_of(task: AnyTask) -> str:
    """The name of the task in a row. Raises InvalidTask if a worker would find something else by it."""
    name = f"{task.func.__module__}:{task.func.__qualname__}"
    try:
        found: AnyTask = names.resolve_marked(name)
    except DeserializationError as error:
        raise InvalidTask(f"No worker could find the task: {error}") from error
    if found != changed(task, **{option: getattr(found, option) for option in USING}):
        raise InvalidTask(
            f"A worker would perform {name} as its module has it, which is not as it is here; one enqueue can"
            f" change {', '.join(USING)}."
        )
    return name


def as_enqueued(task: AnyTask, payload: Mapping[str, Any], **changes: Any) -> AnyTask:
    """The task of the module, with what `using` had changed at its enqueue, and with these changes."""
    return changed(
        task,
        **changes,
        backend=payload.get("backend", "default"),
        priority=payload.get("priority", 0),
        run_after=arguments.decode(payload.get("run_after")),
    )


def arguments_in(payload: Any) -> tuple[list[Any], dict[str, Any]]:
    """The arguments in the payload of a task. Raises DeserializationError."""
    args, kwargs = (payload.get(name) if isinstance(payload, dict) else None for name in ("args", "kwargs"))
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise DeserializationError("The payload has no arguments of a task.")
    return args, kwargs


def stand_in(name: str, error: DeserializationError) -> AnyTask:
    """A task in the place of one that has lost its function: it has the same name, and raises the error."""

    def gone(*args: Any, **kwargs: Any) -> NoReturn:
        raise error

    gone.__module__, _, gone.__qualname__ = name.partition(":")
    gone.__name__ = gone.__qualname__
    task = object.__new__(DelayedTask)
    values = {field.name: field.default for field in fields(DelayedTask)}
    for field, value in {**values, "func": gone, "queue_name": "default", "takes_context": False}.items():
        object.__setattr__(task, field, value)
    return task
