"""The entry of an operation in the admin's log: written before the first move, completed after the last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType

from ..models import DelayedJob
from .wording import Wording


def begin_entry(
    wording: Wording, user: Any, ids: Sequence[int], where: str, row: DelayedJob | None = None
) -> LogEntry:
    """Write the entry of an operation on these rows; that on a single job is part of its history.

    An operation that is cut off in the middle leaves an entry that says so.
    """
    return LogEntry.objects.create(
        user_id=user.pk,
        content_type=ContentType.objects.get_for_model(DelayedJob),
        object_id=str(row.pk) if row else None,
        object_repr=str(row or wording.button % {"count": len(ids)})[:200],
        action_flag=wording.flag,
        change_message=wording.operation.report("not completed", ids, where),
    )


def complete_entry(entry: LogEntry, wording: Wording, moved: int, ids: Sequence[int], where: str) -> None:
    """Write into the entry how many rows were moved."""
    entry.change_message = wording.operation.report(f"{moved} of {len(ids)}", ids, where)
    entry.save(update_fields=["change_message"])
