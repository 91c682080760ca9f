"""The hooks of a job around its perform() and its enqueue, in their order. Writes nothing.

A Job has one method of each name, and any number of further ones with the decorators here. Of each kind, the
method of that name comes first, then the others: those of base classes first, in the order of the source.

Write `from django_delayed.jobs import hooks` and `@hooks.before_perform`: in a class that has a method of
that name, the name without the module would mean the method.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..conf import duration
from ..exceptions import DontPerform, JobExpired
from .event_loop import awaited, is_async
from .results import keep_result

if TYPE_CHECKING:
    from .job import Job

M = TypeVar("M", bound=Callable[..., Any])
# For each kind, the names of the methods that are hooks in addition to the one of that name.
Hooks = Mapping[str, Sequence[str]]

# The kinds that have a decorator.
KINDS = frozenset(
    f"{when}_{what}" for when in ("before", "around", "after") for what in ("enqueue", "perform")
)

_ENDED = object()
_NOT_PERFORMED = object()
# The attribute of a method that says which kinds of hook it is.
_MARK = "_django_delayed_hook"


def before_enqueue(method: M) -> M:
    """The method runs before its job is written down. If it returns False, the job is not enqueued."""
    return _mark(method, "before_enqueue")


def around_enqueue(method: M) -> M:
    """The method, a generator, wraps the enqueue of its job. If it does not yield, nothing is enqueued."""
    return _mark(method, "around_enqueue")


def after_enqueue(method: M) -> M:
    """The method runs after its job was written down."""
    return _mark(method, "after_enqueue")


def before_perform(method: M) -> M:
    """The method runs before each perform; an error in it is an error of the job."""
    return _mark(method, "before_perform")


def around_perform(method: M) -> M:
    """The method, a generator, wraps each perform. If it does not yield, the job finishes unperformed."""
    return _mark(method, "around_perform")


def after_perform(method: M) -> M:
    """The method runs after each perform that succeeded; an error in it is an error of the job."""
    return _mark(method, "after_perform")


def _mark(method: M, kind: str) -> M:
    if not callable(method) and not isinstance(method, classmethod | staticmethod):
        raise TypeError(f"@{kind} decorates a method of a Job, not {method!r}.")
    setattr(method, _MARK, (*kinds_of(method), kind))
    return method


def kinds_of(method: Any) -> tuple[str, ...]:
    """Which kinds of hook the decorators of the method make it."""
    # Statically: it may be any attribute of a class, such as a lazy object, which getattr() would evaluate.
    kinds: tuple[str, ...] = inspect.getattr_static(method, _MARK, ())
    if issubclass(type(method), classmethod | staticmethod):
        # It lacks the attributes of the function below it.
        kinds += kinds_of(method.__func__)
    return kinds


def collect_hooks(cls: type[Job], base: type[Job]) -> Hooks:
    """The methods of a class that are hooks by their decorators, those of its base classes first.

    Empty for a class that has only the method of each name, and no around_enqueue, no `expires`, no `result`
    and no async perform.
    """
    found: dict[str, dict[str, None]] = {}
    theirs = [c for c in reversed(cls.__mro__) if not issubclass(base, c)]
    for name, method in ((name, method) for c in theirs for name, method in vars(c).items()):
        for kind in kinds_of(method):
            # A method of that name is a hook without a decorator, too.
            if name != kind:
                found.setdefault(kind, {})[name] = None
    if cls.expires is not None:
        found.setdefault("before_perform", {})
    if cls.result:
        found.setdefault("after_perform", {})
    if cls.around_enqueue is not base.around_enqueue:
        found.setdefault("around_enqueue", {})
    if is_async(cls.perform):
        found["perform"] = {}
    return {kind: tuple(names) for kind, names in found.items()}


# The perform


def run_with_hooks(job: Job) -> Any:
    """The result of `perform`; None when it was not called, or `around_perform` handled its error."""
    try:
        job.before_perform()
        around = job.around_perform()
        if next(around, _ENDED) is _ENDED:
            return None
        try:
            result = job.perform(*job.args, **job.kwargs)
        except BaseException as error:
            _expect_end(job, "around_perform", around.throw, error)
            return None
        _expect_end(job, "around_perform", next, around)
        job.after_perform()
        return result
    except DontPerform:
        return None


def run_with_many_hooks(job: Job, hooks: Hooks) -> Any:
    """As `run_with_hooks`, for a job that has more than one of a kind."""
    try:
        _check_expiry(job)
        _call(job, "before_perform", hooks)
        result = _run_inside(job, _names("around_perform", hooks))
        if result is _NOT_PERFORMED:
            return None
        # From the class: a job may have an attribute of its own with that name.
        if type(job).result:
            result = keep_result(job, result)
        _call(job, "after_perform", hooks)
        return result
    except DontPerform:
        return None


def _check_expiry(job: Job) -> None:
    """Raise JobExpired for the first attempt of a job if it begins too late."""
    row = job.delayed_job
    if job.expires is None or row is None or row.locked_at is None or row.attempts > 1:
        return
    limit = duration(job.expires, "expires")
    if row.locked_at - row.run_at > limit:
        raise JobExpired(f"{job.name} was due at {row.run_at:%Y-%m-%d %H:%M:%S}, and had {limit} to begin.")


def _call(job: Job, kind: str, hooks: Hooks) -> None:
    for name in _names(kind, hooks):
        getattr(job, name)()


def _names(kind: str, hooks: Hooks) -> tuple[str, ...]:
    return (kind, *hooks.get(kind, ()))


def _run_inside(job: Job, arounds: Sequence[str]) -> Any:
    """The result of `perform` inside these hooks, the first one outermost."""
    if not arounds:
        return awaited(job.perform(*job.args, **job.kwargs))
    name, *inner = arounds
    around = getattr(job, name)()
    if next(around, _ENDED) is _ENDED:
        return _NOT_PERFORMED
    try:
        result = _run_inside(job, inner)
    except BaseException as error:
        _expect_end(job, name, around.throw, error)
        return _NOT_PERFORMED
    _expect_end(job, name, next, around)
    return result


# The enqueue


class Enqueue:
    """The hooks of one enqueue of a job that has many."""

    def __init__(self, job: Job, hooks: Hooks) -> None:
        self._job = job
        self._hooks = hooks
        self._around: list[tuple[str, Generator[None, None, None]]] = []

    def begin(self) -> bool:
        """Run the hooks before the enqueue; False if one of them does not want it."""
        try:
            return self._begin()
        except BaseException as error:
            self.fail(error)
            raise

    def _begin(self) -> bool:
        if any(getattr(self._job, name)() is False for name in _names("before_enqueue", self._hooks)):
            return False
        for name in _names("around_enqueue", self._hooks):
            around = getattr(self._job, name)()
            if next(around, _ENDED) is _ENDED:
                self.leave()
                return False
            self._around.append((name, around))
        return True

    def leave(self) -> None:
        """End the hooks around the enqueue, when the job is written down."""
        while self._around:
            name, around = self._around.pop()
            _expect_end(self._job, name, next, around)

    def finish(self) -> None:
        """Run the hooks after the enqueue."""
        _call(self._job, "after_enqueue", self._hooks)

    def fail(self, error: BaseException) -> None:
        """Raise the error in the hooks around the enqueue, which cannot keep it from the caller."""
        while self._around:
            name, around = self._around.pop()
            try:
                _expect_end(self._job, name, around.throw, error)
            except BaseException as raised:
                error = raised


def _expect_end(job: Job, name: str, resume: Callable[..., Any], *args: Any) -> None:
    try:
        resume(*args)
    except StopIteration:
        return
    raise RuntimeError(f"{type(job).__qualname__}.{name} must yield once.")
