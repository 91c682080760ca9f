"""When the signals of tasks are sent, and what they carry. TaskJob itself sends `task_enqueued`."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from ..exceptions import DeserializationError
from ..jobs.results import result_settled
from ..serialization.errors import describe
from ..serialization.results import Kept
from .compat import AnyResult, BaseTaskBackend, TaskResultStatus, task_finished, task_started
from .results import Attempt, attempts_of, find_row, result_of
from .task import changed

if TYPE_CHECKING:
    from ..models import DelayedJob

# The key in the __dict__ of a row for the result that was sent when the task began.
_STARTED = "started_result"


def sender_of(result: AnyResult) -> type[BaseTaskBackend]:
    """The class of the result's backend."""
    try:
        return type(result.task.get_backend())
    except ImproperlyConfigured:
        # Its alias is no longer in TASKS.
        return BaseTaskBackend


def send_started(row: DelayedJob, result: AnyResult) -> None:
    """Send task_started. The signal of the end has the same result, with what has changed."""
    row.__dict__[_STARTED] = result
    task_started.send_robust(sender_of(result), task_result=result)


def _send_finished(result: AnyResult, error: BaseException | None) -> None:
    if error is None:
        task_finished.send_robust(sender_of(result), task_result=result)
        return
    trace = error.__traceback__
    try:
        raise error
    except BaseException as raised:
        if raised is not error:
            # Something else interrupts this process, such as KeyboardInterrupt.
            raise
        # Receivers ask sys.exc_info() for the error: Django's own, which writes the log, and error trackers'.
        error.__traceback__ = trace
        task_finished.send_robust(sender_of(result), task_result=result)


def _settled(delayed_job: DelayedJob, exception: BaseException | None, **_: Any) -> None:
    """Send task_finished for a task that has ended for good; its row says so, if it still has one."""
    if exception is not None:
        stored = find_row(delayed_job.pk)
        result = _failed(delayed_job, exception) if stored is None else result_of(stored)
    else:
        result = _succeeded(delayed_job)
    _send_finished(result, exception)


def _succeeded(row: DelayedJob) -> AnyResult:
    """The result of a task that was performed; its row does not say so yet."""
    now = timezone.now()
    if started := row.__dict__.get(_STARTED):
        value = Kept.load(row.result).value
        changes = {"status": TaskResultStatus.SUCCESSFUL, "finished_at": now, "_return_value": value}
        return changed(started, **changes)
    # The process that performed the task has died.
    finished = copy.copy(row)
    finished.finished_at = now
    return result_of(finished)


def _failed(row: DelayedJob, error: BaseException) -> AnyResult:
    """The result of a task that has failed and has no row: it was discarded, or performed inline.

    If it was performed inline, the caller has the row, and reads from it what became of the task.
    """
    text = describe(error, row.name)
    last = Attempt(row.locked_by, row.started_at or row.locked_at, text.path, text.message, text.text)
    earlier = attempts_of(row)
    failed = copy.copy(row) if row.pk else row
    failed.failed_at, failed.locked_by = timezone.now(), ""
    failed.last_error, failed.error_class, failed.error_message = text.text, text.path, text.message
    return result_of(failed, attempts=[*earlier, last])


def _receive(**what: Any) -> None:
    try:
        _settled(**what)
    except DeserializationError:
        # The task of the row cannot be known. Our own log says that it has failed.
        return


result_settled.connect(_receive)
