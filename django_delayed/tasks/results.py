"""The TaskResult of a task, from its row and the failed attempts of its job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from django.utils.crypto import get_random_string

from ..conf import settings
from ..enqueueing import all_rows
from ..exceptions import DelayedError, DeserializationError
from ..jobs.results import RESULT
from ..serialization import arguments, names
from ..serialization.results import Kept
from .compat import AnyResult, AnyTask, TaskError, TaskResult, TaskResultStatus
from .task import arguments_in, as_enqueued, stand_in

if TYPE_CHECKING:
    from ..models import DelayedJob

_TRACEBACK = "Traceback (most recent call last):\n"


class Attempt(NamedTuple):
    """What a result says of a failed attempt."""

    worker: str
    started_at: datetime | None
    error_class: str
    error_message: str
    error: str  # the text, of the last one only

    def as_error(self) -> TaskError:
        """The error as Django's TaskError."""
        path = self.error_class if "." in self.error_class else f"builtins.{self.error_class}"
        text = self.error or f"{self.error_class.rpartition('.')[2]}: {self.error_message}"
        before, start, frames = text.partition(_TRACEBACK)
        return TaskError(exception_class_path=path, traceback=f"{start}{frames or before}\n")


def find_row(result_id: Any) -> DelayedJob | None:
    """The row of a task by the id of its result; None for an id that no task has.

    Reads the database in which rows are written: right after an enqueue, a replica does not have the row.
    """
    text = str(result_id)
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        return None
    row = all_rows().filter(pk=int(text)).first()
    return row if row is not None and row.extras & RESULT else None


def id_of(row: DelayedJob) -> str:
    """The id of the result: the row's; a random one for a task that was performed without being written."""
    if row.pk is not None:
        return str(row.pk)
    without_row: str = row.__dict__.setdefault("result_id", get_random_string(32))
    return without_row


def attempts_of(row: DelayedJob) -> list[Attempt]:
    """The last ten failed attempts, the oldest first; no query for a row without an error."""
    if not row.last_error:
        return []
    # A row that no worker could read has failed without an attempt; one without a pk was never written.
    without = [Attempt(row.locked_by, row.started_at, row.error_class, row.error_message, row.last_error)]
    if row.pk is None:
        return without
    attempts = row.failed_attempts.using(settings.DATABASE)
    found = [Attempt(*values) for values in attempts.order_by("pk").values_list(*Attempt._fields)]
    return found or without


def result_of(row: DelayedJob, attempts: Iterable[Attempt] | None = None) -> AnyResult:
    """The result as the row has it now. The function of the task may be gone."""
    payload = arguments.from_json(row.payload)
    args, kwargs = arguments_in(payload)
    return result_with(row, _task_in(payload, row.queue), args, kwargs, attempts)


def result_with(
    row: DelayedJob,
    task: AnyTask,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    attempts: Iterable[Attempt] | None = None,
) -> AnyResult:
    """As `result_of`, if the task and the arguments of the row are known."""
    failed = [*(attempts_of(row) if attempts is None else attempts)]
    kept = Kept.load(row.result)
    last = row.started_at or row.locked_at
    starts = [attempt.started_at for attempt in failed] + ([last] if last else [])
    result: AnyResult = TaskResult(
        task=task,
        id=id_of(row),
        status=_status_of(row),
        enqueued_at=row.created_at,
        started_at=starts[0] if starts else None,
        last_attempted_at=starts[-1] if starts else None,
        finished_at=row.failed_at or row.finished_at,
        args=[*args],
        kwargs={**kwargs},
        backend=task.backend,
        errors=[attempt.as_error() for attempt in failed],
        worker_ids=_worker_ids(row, failed, row.locked_by or kept.worker),
    )
    object.__setattr__(result, "_return_value", kept.value)
    return result


def _status_of(row: DelayedJob) -> TaskResultStatus:
    # The state of the row would need its run_at, for which MySQL would have to be asked after an enqueue.
    if row.failed_at:
        return TaskResultStatus.FAILED
    if row.finished_at:
        return TaskResultStatus.SUCCESSFUL
    # READY also means: the task has failed, and will be tried again.
    return TaskResultStatus.RUNNING if row.locked_at else TaskResultStatus.READY


def refused(task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any]) -> AnyResult:
    """The result of a task that was not written down, with no equal one that waits."""
    why = (
        "The task is not enqueued: it would report the failure of a report, or the equal task has just"
        " ended.\n"
    )
    return TaskResult(
        task=task,
        id=get_random_string(32),
        status=TaskResultStatus.FAILED,
        enqueued_at=None,
        started_at=None,
        last_attempted_at=None,
        finished_at=None,
        args=[*args],
        kwargs={**kwargs},
        backend=task.backend,
        errors=[TaskError(exception_class_path=f"{DelayedError.__module__}.DelayedError", traceback=why)],
        worker_ids=[],
    )


def _worker_ids(row: DelayedJob, failed: Sequence[Attempt], worker: str) -> list[str]:
    """The id of the worker of each attempt; "" if it is not known any more."""
    known = [attempt.worker for attempt in failed] + ([worker] if worker else [])
    return [""] * (row.attempts - len(known)) + known


def _task_in(payload: Mapping[str, Any], queue: str) -> AnyTask:
    """The task in a payload, even if its function or its queue is gone."""
    try:
        found: AnyTask = names.resolve_marked(payload.get("task"))
    except DeserializationError as error:
        found = stand_in(str(payload.get("task")), error)
    return as_enqueued(found, payload, queue_name=queue)
