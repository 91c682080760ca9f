"""Which of the waiting jobs a test means."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypedDict, Unpack

from ..calls import CallJob
from ..calls.asynchronous import BoundAsynchronousMethod
from ..conf import from_now, integer, queue_name
from ..jobs import Job
from ..mail.mailers import MailerJob
from ..models import DelayedJob, all_rows
from ..options import check_options

# Times that differ by less are equal: a test and the code that it tests may each have asked for the time.
SAME_TIME = timedelta(seconds=1)


class Criteria(TypedDict, total=False):
    """What a test may say about a job, beside what it performs."""

    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    queue: str
    priority: int
    run_at: datetime
    wait: timedelta | float


@dataclass(frozen=True)
class Waiting:
    """A row that waits, and its job; None if the job cannot be loaded."""

    row: DelayedJob
    job: Job | None
    problem: str = ""

    def __str__(self) -> str:
        row = self.row
        called = self.problem if self.job is None else repr(self.job)
        about = f" about {row.about}" if row.about else ""
        return f"{called}{about}, queue {row.queue!r}, priority {row.priority}, run_at {row.run_at}"


def waiting() -> Iterator[Waiting]:
    """All jobs that wait, whether they are due or not, in the order in which they were enqueued."""
    for row in all_rows().waiting().order_by("pk"):
        try:
            job = _load(row)
        except Exception as error:
            yield Waiting(row, None, f"{row.name}, which cannot be loaded ({type(error).__name__}: {error})")
        else:
            yield Waiting(row, job)


def _load(row: DelayedJob) -> Job:
    with ExitStack() as stack:
        return Job.load(row, lambda context: stack.enter_context(context.active()))


def enqueued(what: Any = None, /, **criteria: Unpack[Criteria]) -> list[Job]:
    """The jobs that wait and meet the criteria, with their `args`, `kwargs` and `delayed_job`.

    `what` is a Job class, a function, a task or a method, also one of a certain instance. `run_at` and `wait`
    are compared to the second. Raises TypeError or ValueError for criteria that no job could meet.
    """
    wanted = Wanted(what, criteria)
    return [found.job for found in waiting() if found.job is not None and wanted.is_met_by(found)]


class Wanted:
    """What a test asks for. Raises TypeError or ValueError for criteria that no job could meet."""

    def __init__(self, what: Any, criteria: Criteria) -> None:
        if unknown := sorted(criteria.keys() - _CHECKS.keys()):
            raise TypeError(f"Unknown criterion {unknown[0]!r}; there are {', '.join(_CHECKS)}.")
        given = {name: value for name, value in criteria.items() if value is not None}
        self.what = _check_what(what)
        self.criteria = {name: _CHECKS[name](value, name) for name, value in given.items()}

    def __str__(self) -> str:
        what = "A job" if self.what is None else getattr(self.what, "func", self.what).__qualname__
        criteria = " and ".join(f"{name}={value!r}" for name, value in self.criteria.items())
        return f"{what} with {criteria}" if criteria else what

    def is_met_by(self, found: Waiting) -> bool:
        """Whether the test means this job; a job that cannot be loaded is compared by its row alone."""
        job = found.job
        if job is None and (self.what is not None or not self.criteria.keys().isdisjoint(_OF_JOBS)):
            return False
        if job is not None and self.what is not None and not _is_of(job, self.what):
            return False
        has = {name: _HAS[name](job, found.row) for name in self.criteria}
        return all(_is_same(has[name], value) for name, value in self.criteria.items())


def _is_same(has: Any, wanted: Any) -> bool:
    if isinstance(wanted, datetime | timedelta):
        return abs(has - wanted) < SAME_TIME
    return bool(has == wanted)


def _is_of(job: Job, what: Any) -> bool:
    """Whether the job calls this method or function, or is one of this class."""
    if isinstance(what, type):
        return isinstance(job, what)
    function, target = _taken_apart(what)
    if isinstance(job, CallJob):
        called = _taken_apart(job.call.function)[0]
        return called is function and (target is None or bool(job.target == target))
    if isinstance(job, MailerJob):
        return job.mail.function is function
    task: Any = getattr(job, "task", None)
    return _is_task(task) and task.func is function


def _taken_apart(what: Any) -> tuple[Any, Any]:
    """The function itself, and the instance or class that it is bound to, if any."""
    # Asked first, because `ismethod` is true for it too.
    if type(what) is BoundAsynchronousMethod:
        method = what.method.undelayed
        is_bound = not isinstance(what.target, type) or isinstance(method, classmethod)
        return getattr(method, "__func__", method), what.target if is_bound else None
    if inspect.ismethod(what):
        return what.__func__, what.__self__
    return what.func if _is_task(what) else what, None


def _is_task(thing: Any) -> bool:
    # Not by its class: the framework of tasks need not be installed.
    return hasattr(thing, "func") and hasattr(thing, "takes_context")


def _check_what(what: Any) -> Any:
    if what is None or _is_task(what) or (isinstance(what, type) and issubclass(what, Job)):
        return what
    if isinstance(what, type) or not callable(what) or not hasattr(what, "__qualname__"):
        raise TypeError(
            "A test names a Job class, a function, a method or a task, as in Post.send_to_twitter,"
            f" not {what!r}."
        )
    return what


def _args(value: Any, name: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{name} must be a tuple or a list, as in {name}=({value!r},), not {value!r}.")
    return tuple(value)


def _kwargs(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict, not {value!r}.")
    return dict(value)


def _run_at(value: Any, name: str) -> datetime:
    return check_options({name: value})[name]


_CHECKS: dict[str, Any] = {
    "args": _args,
    "kwargs": _kwargs,
    "queue": queue_name,
    "priority": integer,
    "run_at": _run_at,
    "wait": from_now,
}
# The criteria that need a loaded job.
_OF_JOBS = ("args", "kwargs")
# The values that are compared with the criteria, from a job and its row.
_HAS: dict[str, Any] = {
    "args": lambda job, row: tuple(job.args),
    "kwargs": lambda job, row: job.kwargs,
    "queue": lambda job, row: row.queue,
    "priority": lambda job, row: row.priority,
    "run_at": lambda job, row: row.run_at,
    "wait": lambda job, row: row.run_at - row.created_at,
}
