"""TaskJob: a task with its arguments, as the job that performs it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from ..exceptions import DuplicateJob
from ..jobs import Job
from ..jobs.event_loop import awaited
from ..jobs.results import RESULT, keep_result, time_for_results
from ..jobs.rules import default_wait
from ..jobs.signatures import check_fit
from ..jobs.view import row_of
from ..options import Layers, Options, check_options
from ..reports import mark
from ..serialization import arguments, names
from ..serialization.context import Context
from .compat import AnyTask, TaskContext, task_enqueued
from .results import result_with
from .signals import send_started, sender_of
from .task import arguments_in, as_enqueued, changed, name_of


class TaskJob(Job, tag="task"):
    """A task that was enqueued. Raises TypeError for arguments that do not fit its function.

    The arguments are `normalized`, and stored as they are. If the task was not enqueued because another row
    holds its key, `equal` is the id of that row.
    """

    equal: int | None = None

    def __init__(self, task: AnyTask, /, *args: Any, **kwargs: Any) -> None:
        given = (None, *args) if task.takes_context else args
        check_fit(task.name, task.func, given, kwargs)
        self.task = task
        self.args = args
        self.kwargs = kwargs
        # Subclasses of Job have these as attributes of the class.
        for name, default in (("max_attempts", None), ("max_run_time", None), ("discard_on", ())):
            setattr(self, name, getattr(task, name, default))

    def enqueue_failed(self, error: BaseException) -> None:
        if isinstance(error, DuplicateJob):
            self.equal = error.delayed_job_id
        super().enqueue_failed(error)

    def after_enqueue(self) -> None:
        # A hook of the enqueue: so the signal is sent before an inline task begins.
        row: Any = row_of(self)
        result = result_with(row, self.task, self.args, self.kwargs)
        # Robustly: the row is written, and a caller that sees an error would enqueue the task again.
        task_enqueued.send_robust(sender_of(result), task_result=result)

    def perform(self, *args: Any, **kwargs: Any) -> Any:
        """Call the task's function, and keep what it returns for the move to write."""
        row: Any = row_of(self)
        if row.pk is None:
            # As a claim would set them.
            row.locked_at, row.locked_by = timezone.now(), "inline"
        task = changed(self.task, queue_name=row.queue)
        result = result_with(row, task, self.args, self.kwargs)
        send_started(row, result)
        context: tuple[Any, ...] = (TaskContext(task_result=result),) if self.task.takes_context else ()
        call = self.task.acall if inspect.iscoroutinefunction(self.task.func) else self.task.call
        return keep_result(self, awaited(call(*context, *args, **kwargs)))

    def wait_before_retry(self, attempts: int, error: BaseException) -> timedelta | float:
        wait: Any = getattr(self.task, "wait_before_retry", None)
        if callable(wait):
            return wait(attempts, error)
        return default_wait(attempts) if wait is None else wait

    # A property: a worker, which makes the job again, does not need its options.
    @property
    def layers(self) -> Layers:  # type: ignore[override]
        """The options of the task."""
        return (_options_of(self.task),)

    @property
    def name(self) -> str:
        return self.task.func.__qualname__

    def row_values(
        self, max_run_time: timedelta | None = None, context: Callable[[], Context] = Context.current
    ) -> dict[str, Any]:
        kept = {"keep_for": time_for_results(), "extras": mark() | RESULT}
        return {**super().row_values(max_run_time, context), **kept}

    def dump_arguments(self) -> dict[str, Any]:
        task = self.task
        dumped: dict[str, Any] = {"task": name_of(task), "backend": task.backend}
        if task.priority:
            dumped["priority"] = int(task.priority)
        if task.run_after is not None:
            dumped["run_after"] = arguments.encode(_in_utc(task.run_after))
        return {**dumped, "args": self.args, "kwargs": self.kwargs}

    @classmethod
    def load_arguments(cls, payload: dict[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        args, kwargs = arguments_in(payload)
        found: AnyTask = names.resolve_marked(payload.get("task"))
        return (as_enqueued(found, payload), *args), kwargs


def _options_of(task: AnyTask) -> Options:
    # For Django, a larger number is sooner; here, a smaller one. 0 is no priority of its own.
    priority = -int(task.priority) or None
    when = "wait" if isinstance(task.run_after, timedelta) else "run_at"
    unique = getattr(task, "unique", None)
    return check_options(
        {"queue": task.queue_name, "priority": priority, when: task.run_after, "unique": unique}
    )


def _in_utc(moment: datetime | timedelta) -> datetime | timedelta:
    if isinstance(moment, datetime) and timezone.is_aware(moment):
        return moment.astimezone(UTC)
    return moment
