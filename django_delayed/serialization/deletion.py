"""Whether an instance is being deleted while it becomes an argument, as in a receiver of post_delete."""

from __future__ import annotations

import sys
from typing import Any

from django.db.models import Model
from django.db.models.deletion import Collector
from django.db.models.signals import post_delete, pre_delete

_DELETE = Collector.delete.__code__


def is_being_deleted(record: Model) -> bool:
    """Whether `record.delete()` is under way, or another delete() that has reached it.

    Django does not tell, and a receiver of ours would slow every deletion down. So this looks for deletions
    among the callers, and only where somebody else receives the signals.
    """
    cls = record.__class__
    if not any(signal.receivers and signal.has_listeners(cls) for signal in (pre_delete, post_delete)):
        return False
    frame = sys._getframe(1)
    while frame := frame.f_back:  # type: ignore[assignment]
        if frame.f_code is _DELETE:
            values = frame.f_locals
            # The instance that is being deleted now, and the one that delete() was called on.
            deleted = [values.get("obj"), getattr(values.get("self"), "origin", None)]
            if any(_is_same(record, other) for other in deleted):
                return True
    return False


def _is_same(record: Model, other: Any) -> bool:
    return (
        isinstance(other, Model)
        and other._meta.concrete_model is record._meta.concrete_model
        and other.pk == record.pk
    )
