"""The check of a Job class: what it overrides, its hooks, its attributes."""

from __future__ import annotations

import inspect
from itertools import takewhile
from typing import Any, NoReturn

from ..conf import CATCH_UP, CODE_NAME, count, duration, positive_duration
from ..features.recurring.schedules import Cron, Every
from ..options import WHEN, check_options
from .hooks import Hooks
from .rules import check_rules, is_error
from .signatures import check_kind

# The arguments that each is called with.
HOOKS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("before_enqueue", "after_enqueue", "before_perform", "after_perform"), ()),
    **dict.fromkeys(("before_dequeue", "after_dequeue"), ()),
    **dict.fromkeys(("on_error", "on_failure", "after_discard"), ("error",)),
}
AROUND: dict[str, tuple[str, ...]] = {"around_enqueue": (), "around_perform": ()}
CALLED_WITH = {**HOOKS, **AROUND, "wait_before_retry": ("attempts", "error")}
# What a subclass may define.
OPEN = {
    *("queue", "priority", "max_attempts", "max_run_time", "discard_on", "retry_on", "retry_for"),
    *("expires", "aliases", "atomic", "schedule", "catch_up", "unique", "keep_for", "result"),
    *("wait_before_retry", "perform", *HOOKS, *AROUND),
}


def check_definition(cls: Any, base: type, hooks: Hooks) -> None:
    """Raise TypeError or ValueError for what is wrong with a subclass of Job, when it is defined."""
    where = cls.__qualname__
    theirs = [
        c for c in cls.__mro__ if not issubclass(base, c) and not c.__module__.startswith("django_delayed.")
    ]
    defined = {name for c in theirs for name in vars(c)}
    if "__init__" in defined:
        raise TypeError(f"{where} must not override __init__: a Job takes the arguments of perform().")
    if taken := defined & own_names(base):
        raise TypeError(f"{where} must not override {min(taken)}, which Job uses itself.")
    if when := defined & {*WHEN, "wait_until"}:
        raise TypeError(f"{where}.{min(when)}: set it for each job, with set({min(when)}=…) or enqueue().")
    _check_spelling(where, defined)
    _check_method(f"{where}.perform()", cls.perform, may_be_async=True)
    for kind in CALLED_WITH:
        if kind in defined:
            _check_hook(cls, kind, kind)
        for name in hooks.get(kind, ()):
            _check_hook(cls, kind, name)
    _check_attributes(cls, where)
    _check_schedule(cls, base, where)


class NoDelay:
    """`delay` of a Job, which has none: the error says what to write."""

    def __get__(self, job: Any, owner: type) -> NoReturn:
        name = owner.__qualname__
        raise AttributeError(
            f"A Job needs no delay(): write {name}.perform_later(…), or with options"
            f" {name}.set(…).perform_later(…)."
        )


class NotInitialized:
    """The args and kwargs of a Job that has another __init__ than ours, such as that of @dataclass."""

    def __get__(self, job: Any, owner: type) -> Any:
        if job is None:
            return self
        raise TypeError(
            f"{owner.__qualname__} has an __init__ of its own, perhaps from @dataclass. A Job takes the"
            " arguments of perform(): write def perform(self, …) with them, and leave the decorator out."
        )


def own_names(base: type) -> set[str]:
    """Names that Job uses internally; a subclass must not override them."""
    names = {*vars(base), *base.__annotations__}
    return {name for name in names if not name.startswith("_")} - OPEN - {"delay"}


def _check_spelling(where: str, defined: set[str]) -> None:
    for name in sorted(defined - OPEN):
        near = (known for known in sorted(OPEN) if abs(len(known) - len(name)) < 2)
        if meant := next((known for known in near if _is_typo(name, known)), None):
            raise TypeError(f"{where}.{name}: did you mean {meant}? A Job may not use such a similar name.")


def _is_typo(name: str, known: str) -> bool:
    """Whether one letter is missing, too many or wrong, or two are in the wrong order."""
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(name, known, strict=False)))
    given, meant = name[same:], known[same:]
    swapped = given[1::-1] + given[2:]
    return meant[1:] in (given, given[1:]) or given[1:] == meant or swapped == meant


def _check_method(where: str, method: Any, *, may_be_async: bool = False) -> None:
    if not callable(method):
        raise TypeError(f"{where} must be a method, not {method!r}.")
    check_kind(where, method, may_be_async=may_be_async)


def _check_hook(cls: Any, kind: str, name: str) -> None:
    method, where = getattr(cls, name), f"{cls.__qualname__}.{name}()"
    if kind not in AROUND:
        _check_method(where, method)
    elif not inspect.isgeneratorfunction(method):
        raise TypeError(f"{where} must be a generator with one yield.")
    _check_signature(cls, kind, name)


def _check_signature(cls: Any, kind: str, name: str) -> None:
    """Raise TypeError for a hook that cannot be called: otherwise the worker that calls it would fail."""
    given = CALLED_WITH[kind]
    try:
        _try_call(cls, name, given)
    except ValueError:
        # A function written in C may have no signature.
        return
    except TypeError as error:
        written = f"{name}({', '.join(('self', *given))})"
        raise TypeError(f"{cls.__qualname__}.{name}() is called as {written}: {error}.") from None


def _try_call(cls: Any, name: str, given: tuple[str, ...]) -> None:
    """Raise TypeError if the method does not take these arguments, ValueError if it has no signature."""
    # From the class, a plain function is not bound yet.
    is_plain = inspect.isfunction(inspect.getattr_static(cls, name))
    inspect.signature(getattr(cls, name)).bind(*(("self",) if is_plain else ()), *given)


def _check_attributes(cls: Any, where: str) -> None:
    try:
        check_options({"queue": cls.queue, "priority": cls.priority, "unique": cls.unique})
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where}.{error}") from None
    for name in ("atomic", "result"):
        if not isinstance(getattr(cls, name), bool):
            raise TypeError(f"{where}.{name} must be True or False, not {getattr(cls, name)!r}.")
    if cls.max_attempts is not None:
        count(cls.max_attempts, f"{where}.max_attempts")
    for name in ("max_run_time", "retry_for", "expires"):
        value = getattr(cls, name)
        if value is not None and not duration(value, f"{where}.{name}"):
            raise ValueError(f"{where}.{name} must be longer than 0 seconds.")
    if cls.keep_for is not None:
        positive_duration(cls.keep_for, f"{where}.keep_for")
    if not isinstance(cls.discard_on, tuple) or not all(map(is_error, cls.discard_on)):
        raise TypeError(f"{where}.discard_on must be a tuple of exception classes, not {cls.discard_on!r}.")
    check_rules(where, cls.retry_on, cls.discard_on)
    if not isinstance(cls.aliases, tuple) or not all(_is_code_name(name) for name in cls.aliases):
        raise TypeError(f'{where}.aliases must be a tuple like ("shop.jobs:OldName",), not {cls.aliases!r}.')


def _check_schedule(cls: Any, base: Any, where: str) -> None:
    if cls.catch_up not in CATCH_UP:
        raise ValueError(f"{where}.catch_up must be one of {', '.join(CATCH_UP)}, not {cls.catch_up!r}.")
    if cls.schedule is None or not own_schedule(cls, base):
        return
    if not isinstance(cls.schedule, Cron | Every):
        raise TypeError(f"{where}.schedule must be cron(…) or every(…), not {cls.schedule!r}.")
    if "<" in where:
        raise TypeError(f"{where} has a schedule, so it has to be defined at the top of a module.")
    if cls.perform is base.perform:
        raise TypeError(f"{where} has a schedule and no perform(); subclasses do not inherit the schedule.")
    try:
        _try_call(cls, "perform", ())
    except TypeError as error:
        raise TypeError(
            f"{where}.perform() is called without arguments by its schedule: {error}. To give it some, leave"
            " schedule out and name the class in DJANGO_DELAYED['RECURRING'], with args and kwargs."
        ) from None


def own_schedule(cls: Any, base: type) -> bool:
    """Whether the class, or a mixin of its own, gives it a schedule; it inherits none from another Job."""
    parents = [parent for parent in cls.__bases__ if issubclass(parent, base)]
    is_new = "schedule" in vars(cls) or all(parent.schedule is None for parent in parents)
    return cls.schedule is not None and is_new


def _is_code_name(value: Any) -> bool:
    return isinstance(value, str) and CODE_NAME.fullmatch(value) is not None
