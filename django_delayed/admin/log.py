"""The entry of an operation in the admin's log: written before the first move, completed after the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model

from ..models import DelayedJob, FailureGroup, PausedQueue, Verb, WorkerProcess
from .wording import Wording

NOT_COMPLETED = "not completed"


@dataclass(frozen=True)
class Move:
    """An operation on the rows of these ids, which a filter or an operator has chosen.

    `row` is the row of an operation on a single job, and `change` says what changes in it.
    """

    wording: Wording
    user: Any
    ids: Sequence[int]
    where: str
    spread: timedelta
    row: DelayedJob | None = None
    change: str = ""

    def report(self, result: str) -> str:
        """What its entry says."""
        result += f" ({self.change})" if self.change else ""
        return self.wording.operation.report(result, self.ids, self.where, self.spread)


def begin_entry(move: Move) -> LogEntry:
    """Write the entry of an operation; an entry about a single job is part of that job's history.

    An operation that is cut off in the middle leaves an entry that says so.
    """
    about = str(move.row or move.wording.button % {"count": len(move.ids)})
    return _begin(move.user, move.wording.flag, move.row or DelayedJob, about, move.report(NOT_COMPLETED))


def complete_entry(entry: LogEntry, move: Move, moved: int) -> None:
    """Write into the entry how many rows were moved."""
    _complete(entry, move.report(f"{moved} of {len(move.ids)}"))


def write_entry_of_note(group: FailureGroup, user: Any) -> None:
    """Write the entry of a note about a cause."""
    _begin(user, CHANGE, group, str(group), f"note: {group.note}")


def write_entry_of_pause(verb: str, queue: str, user: Any) -> None:
    """Write the entry about a queue that was paused or resumed."""
    _begin(user, CHANGE, PausedQueue, queue, f"{verb}: {queue}")


def begin_entry_of_request(verb: Verb, user: Any, workers: Sequence[WorkerProcess]) -> LogEntry:
    """Write the entry of a request to these workers; for a single one, it is part of its history."""
    about = workers[0] if len(workers) == 1 else WorkerProcess
    return _begin(user, CHANGE, about, _names_of(workers), _report(verb, NOT_COMPLETED, workers))


def complete_entry_of_request(
    entry: LogEntry, verb: Verb, workers: Sequence[WorkerProcess], asked: int
) -> None:
    """Write into the entry how many workers were there to be asked."""
    _complete(entry, _report(verb, f"{asked} of {len(workers)}", workers))


def _report(verb: Verb, result: str, workers: Sequence[WorkerProcess]) -> str:
    return f"{verb}: {result}: {_names_of(workers)}"


def _names_of(workers: Sequence[WorkerProcess]) -> str:
    return ", ".join(map(str, workers))


def _begin(user: Any, flag: int, about: Model | type[Model], text: str, message: str) -> LogEntry:
    """Write an entry about a row, or about rows of a model."""
    return LogEntry.objects.create(
        user_id=user.pk,
        content_type=ContentType.objects.get_for_model(about),
        object_id=str(about.pk) if isinstance(about, Model) else None,
        object_repr=text[:200],
        action_flag=flag,
        change_message=message,
    )


def _complete(entry: LogEntry, message: str) -> None:
    entry.change_message = message
    entry.save(update_fields=["change_message"])
