"""The backend: it writes tasks down as delayed jobs, and reads their results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

from django.apps import apps
from django.core.checks import CheckMessage, Error, Info
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections

from ..conf import queue_name, settings
from ..enqueueing import enqueue_at_once
from ..exceptions import DelayedError
from ..serialization.results import normalized
from .compat import AnyResult, AnyTask, BaseTaskBackend, Task, TaskResult, TaskResultDoesNotExist
from .job import TaskJob
from .results import find_row, refused, result_of, result_with
from .task import DelayedTask, changed, check_options

_ON_COMMIT = "Write transaction.on_commit(partial(task.enqueue, …)), or silence this if you do."

P = ParamSpec("P")
R = TypeVar("R")


class DelayedBackend(BaseTaskBackend):
    """The backend of `TASKS = {"default": {"BACKEND": "django_delayed.tasks.DelayedBackend"}}`.

    Building it imports no model and asks the database nothing: Django builds it when a module has a task,
    possibly before there are models.
    """

    task_class = DelayedTask
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def validate_task(self, task: AnyTask) -> None:
        """Raise InvalidTask for a task that no worker could perform."""
        check_options(task)
        # Django's documentation allows a timedelta, which its check cannot read.
        is_relative = isinstance(task.run_after, timedelta)
        super().validate_task(changed(task, run_after=None) if is_relative else task)

    def enqueue(self, task: Task[P, R], args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult[P, R]:
        """Write the task down at once, in the transaction that is open on the queue's database.

        If the task is unique and an equal one waits, the result is that of the one that waits. Raises
        InvalidTask, and TypeError or ValueError for arguments that are no JSON or do not fit the function.
        """
        self.validate_task(task)
        task = changed(task, backend=self.alias)
        given = normalized(args), normalized(kwargs)
        job = TaskJob(task, *given[0], **given[1])
        row = enqueue_at_once(job)
        result: Any
        if row is not None:
            result = result_with(row, task, *given)
        elif job.equal and (row := find_row(job.equal)):
            result = result_of(row)
        else:
            result = refused(task, *given)
        return result

    def get_result(self, result_id: str) -> AnyResult:
        """The result of the task with this id. Raises TaskResultDoesNotExist."""
        row = find_row(result_id)
        if row is None:
            raise TaskResultDoesNotExist(result_id)
        try:
            return result_of(row)
        except DelayedError as error:
            # Somebody has written something else into the row.
            raise TaskResultDoesNotExist(result_id) from error

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        """What is wrong in this entry of TASKS."""
        where = f"TASKS[{self.alias!r}]"
        return [
            *(Error(f"{where}: {sentence}", id="django_delayed.E014") for sentence in self._problems()),
            *(
                Info(f"{where}: {sentence}", hint=_ON_COMMIT, id="django_delayed.I015")
                for sentence in _notes()
            ),
        ]

    def _problems(self) -> Iterator[str]:
        if not apps.is_installed("django_delayed"):
            yield 'its tasks are kept in the tables of an app: add "django_delayed" to INSTALLED_APPS.'
        if self.options:
            yield f"DelayedBackend takes no OPTIONS; remove {json.dumps([*self.options])}."
        for queue in sorted(self.queues, key=str):
            try:
                queue_name(queue, "a name in QUEUES")
            except (TypeError, ValueError) as error:
                yield str(error)


def _notes() -> Iterator[str]:
    # Another check reports wrong settings.
    with suppress(ImproperlyConfigured):
        if settings.DATABASE != DEFAULT_DB_ALIAS and settings.DATABASE in connections:
            yield (
                f"the queue is on {settings.DATABASE!r}. A task does not wait for the commit of your data, as"
                " other jobs do, because it needs an id: it stays when they are rolled back."
            )
