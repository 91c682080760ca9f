"""The list of workers: what each performs, and what an operator may ask of it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy as _

from .. import stats
from ..conf import settings
from ..models import DelayedJob, Verb, WorkerProcess, all_rows
from .asking import ask, question_before_stop
from .display import ago
from .overview import without_worker
from .readonly import ReadOnlyAdmin, address, may_view


class WorkerList(ChangeList):
    """The list of workers, with the names of the jobs that they perform, for users who may view jobs."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        workers: list[Any] = list(self.result_list)
        may_see = may_view(self.model_admin.admin_site, DelayedJob, request)
        ids = {job[0] for worker in workers for job in worker.current_jobs if job} if may_see else set()
        names = dict(all_rows().filter(pk__in=ids).values_list("pk", "name")) if ids else {}
        for worker in workers:
            worker.names = names
        self.result_list = workers


class WorkerProcessAdmin(ReadOnlyAdmin):
    """The workers: what they do, their last heartbeats, and what they may be asked."""

    list_display = (
        *("process", "served_queues", "priorities", "performs", "processed", "failed"),
        *("started", "heartbeat", "is_quiet", "is_alive"),
    )
    list_display_links = None
    ordering = ("hostname", "pid")
    sortable_by = ("process",)
    actions = ("quiet", "resume", "stop")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        workers: Any = super().get_queryset(request)
        return workers.with_alive(settings.LEASE)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        # The sentences name queues, so only users who may view jobs see them.
        may_see = may_view(self.admin_site, DelayedJob, request)
        problems = list(without_worker(stats.workers(), stats.lanes())) if may_see else []
        return super().changelist_view(request, {"problems": problems} | (extra_context or {}))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return WorkerList

    def could_be_id(self, text: str) -> bool:
        return text.isascii() and text.isalnum()

    def has_control_permission(self, request: HttpRequest) -> bool:
        """Whether this user may quiet, resume and stop workers."""
        return self.has(request, "control")

    # Columns.

    @admin.display(description=_("worker"), ordering="hostname")
    def process(self, worker: WorkerProcess) -> str:
        # The log names a worker by its id.
        where = f"{worker.name} {worker.hostname}:{worker.pid}".lstrip()
        return format_html('{} <span class="delayed-about">{}</span>', where, worker.pk)

    @admin.display(description=_("queues"))
    def served_queues(self, worker: WorkerProcess) -> Any:
        return worker.queues.replace(",", ", ") or _("all")

    @admin.display(description=_("priorities"))
    def priorities(self, worker: WorkerProcess) -> Any:
        low, high = worker.min_priority, worker.max_priority
        if low is None and high is None:
            return _("all")
        return f"{'' if low is None else low} … {'' if high is None else high}"

    @admin.display(description=_("performs"))
    def performs(self, worker: Any) -> str:
        slots = worker.current_jobs
        jobs = [(self._job(job[0], worker.names), ago(job[1])) for job in slots if job]
        if free := len(slots) - len(jobs):
            number = {"free": free, "slots": len(slots)}
            jobs.append((_("%(free)s of %(slots)s slots free") % number, ""))
        return format_html_join(mark_safe("<br>"), "{} {}", jobs)

    @admin.display(description=_("started"))
    def started(self, worker: WorkerProcess) -> str | None:
        return ago(worker.started_at)

    @admin.display(description=_("last heartbeat"))
    def heartbeat(self, worker: WorkerProcess) -> str | None:
        return ago(worker.heartbeat_at)

    @admin.display(description=_("quiet"))
    def is_quiet(self, worker: WorkerProcess) -> Any:
        return _("quiet") if worker.quiet else None

    @admin.display(description=_("alive"), boolean=True)
    def is_alive(self, worker: Any) -> bool:
        return bool(worker.alive)

    def _job(self, id: int, names: dict[int, str]) -> str:
        if id not in names:
            # The job was performed since the heartbeat, or this user may not view it.
            return f"#{id}"
        page = address(self.admin_site, DelayedJob, "change", id)
        return format_html('<a href="{}">{} #{}</a>', page, names[id], id)

    # Requests.

    @admin.action(permissions=["control"], description=_("Quiet selected %(verbose_name_plural)s"))
    def quiet(self, request: HttpRequest, queryset: Any) -> None:
        ask(request, Verb.QUIET, list(queryset))

    @admin.action(permissions=["control"], description=_("Resume selected %(verbose_name_plural)s"))
    def resume(self, request: HttpRequest, queryset: Any) -> None:
        ask(request, Verb.RESUME, list(queryset))

    @admin.action(permissions=["control"], description=_("Stop selected %(verbose_name_plural)s"))
    def stop(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        workers = list(queryset)
        if workers and "confirmed" not in request.POST:
            return question_before_stop(self, request, workers)
        ask(request, Verb.STOP, workers)
        return None
