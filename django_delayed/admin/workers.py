"""The list of workers."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import BooleanField, Case, QuerySet, Value, When
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ..conf import settings
from ..databases import DatabaseNow
from ..models import WorkerProcess
from .display import ago
from .readonly import ReadOnlyAdmin


class WorkerProcessAdmin(ReadOnlyAdmin):
    """The workers and their last heartbeats."""

    list_display = (
        "id",
        "hostname",
        "pid",
        "served_queues",
        "priorities",
        "started",
        "heartbeat",
        "is_alive",
    )
    list_display_links = None
    ordering = ("hostname", "pid")
    sortable_by = ("hostname",)
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        stale = When(heartbeat_at__lt=DatabaseNow(plus=-settings.LEASE), then=Value(False))
        alive = Case(stale, default=Value(True), output_field=BooleanField())
        return super().get_queryset(request).annotate(alive=alive)

    @admin.display(description=_("queues"))
    def served_queues(self, worker: WorkerProcess) -> Any:
        return worker.queues.replace(",", ", ") or _("all")

    @admin.display(description=_("priorities"))
    def priorities(self, worker: WorkerProcess) -> Any:
        low, high = worker.min_priority, worker.max_priority
        if low is None and high is None:
            return _("all")
        return f"{'' if low is None else low} … {'' if high is None else high}"

    @admin.display(description=_("started"))
    def started(self, worker: WorkerProcess) -> str | None:
        return ago(worker.started_at)

    @admin.display(description=_("last heartbeat"))
    def heartbeat(self, worker: WorkerProcess) -> str | None:
        return ago(worker.heartbeat_at)

    @admin.display(description=_("alive"), boolean=True)
    def is_alive(self, worker: Any) -> bool:
        return bool(worker.alive)
