"""The list of schedules, the page of one, and what an operator does with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..conf import settings
from ..features.recurring.models import Schedule
from ..features.recurring.runs import now_in_seconds
from ..features.recurring.schedules import Every
from ..models import DelayedJob
from . import schedule_page, scheduling
from .display import ago
from .readonly import OF_ONE, QueueAdmin, address, may_view
from .schedule_form import PREVIEW, ScheduleForm
from .schedule_page import shown, ticks

TIMES = ("cron", "zone", "every")
READ_ONLY = ("name", "job", "when", "catch_up", "queue", "priority")


class ScheduleAdmin(QueueAdmin):
    """Schedules: to look at, run now and pause; those that operators made, also to make, edit and delete."""

    form = ScheduleForm
    list_display = ("name_and_job", "when", "state", "last_run", "next_run")
    list_display_links = ("name_and_job",)
    search_fields = ("name", "job")
    sortable_by = ("name_and_job",)
    actions = ("run_now", "pause", "resume")

    # Who may do what.

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # A schedule of the code is changed in the code.
        return super().has_change_permission(request, obj) and not (obj and obj.in_code)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # A supervisor would write it again.
        return super().has_delete_permission(request, obj) and not (obj and obj.in_code and not obj.gone)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        # Django would list each run, and look for them in the database that a router names.
        refused = [row for row in objs if not self.has_delete_permission(request, row)]
        perms_needed = {self.opts.verbose_name} if refused else set()
        return [str(row) for row in objs], {self.opts.verbose_name_plural: len(objs)}, perms_needed, []

    def has_run_now_permission(self, request: HttpRequest) -> bool:
        """Whether this user may make jobs of schedules apart from their ticks."""
        return self.has(request, "run_now")

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """Whether this user may pause and resume schedules."""
        return self.has(request, "pause")

    # The list.

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: Any = super().get_queryset(request)
        return rows.with_gone()

    @admin.display(description=gettext_lazy("name"), ordering="name")
    def name_and_job(self, row: Schedule) -> str:
        job = "" if row.job == row.name else row.job
        return format_html('{} <span class="delayed-about">{}</span>', row.name, job)

    @admin.display(description=gettext_lazy("when"))
    def when(self, row: Schedule) -> str:
        times = row.times
        if isinstance(times, Every):
            return _("every %(interval)s") % {"interval": times.interval}
        return str(times)

    @admin.display(description=gettext_lazy("state"))
    def state(self, row: Schedule) -> Any:
        return schedule_page.state(row)

    @admin.display(description=gettext_lazy("last run"))
    def last_run(self, row: Schedule) -> str | None:
        return ago(shown(row.last_tick_at))

    @admin.display(description=gettext_lazy("next run"))
    def next_run(self, row: Any) -> str | None:
        return None if row.paused or row.gone else ago(shown(next(ticks(row.times), None)))

    # One schedule.

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return [(None, {"fields": self._fields(request, obj)})]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return () if self._is_edited(request, obj) else self._fields(request, obj)

    def _fields(self, request: HttpRequest, obj: Any) -> tuple[str, ...]:
        return ScheduleForm.Meta.fields if self._is_edited(request, obj) else READ_ONLY

    def _is_edited(self, request: HttpRequest, obj: Any) -> bool:
        return obj is None or self.has_change_permission(request, obj)

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row, form = context["original"], context["adminform"].form
        times = form.times if self._is_edited(request, row) else row.times
        context["next_times"] = schedule_page.next_times(times)
        context["preview"] = PREVIEW if self._is_edited(request, row) else ""
        if row:
            context["state"] = schedule_page.state(row)
            context["moves"] = list(self._moves(request, row))
            may_see = may_view(self.admin_site, DelayedJob, request)
            page_of = partial(address, self.admin_site, DelayedJob, "change") if may_see else None
            context["runs"] = schedule_page.run_lines(row, page_of)
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        obj.arguments = form.cleaned_data["arguments"]
        # Only these columns: a supervisor may have written the others since.
        columns = [*TIMES, "name", "job", "arguments", "catch_up", "queue", "priority"]
        if not change or any(name in form.changed_data for name in TIMES):
            # Past ticks of the new times were not missed: no job is made for them.
            obj.since = now_in_seconds()
            columns.append("since")
        obj.save(using=settings.DATABASE, update_fields=columns if change else None)

    def _moves(self, request: HttpRequest, row: Schedule) -> Iterator[tuple[str, str]]:
        """The address and the words of each button."""
        if self.has_run_now_permission(request):
            yield self.url(request, "run_now", row.pk), _("Run now")
        if self.has_pause_permission(request):
            page, text = ("resume", _("Resume")) if row.paused else ("pause", _("Pause"))
            yield self.url(request, page, row.pk), text

    # What an operator does.

    @admin.action(
        permissions=["run_now"], description=gettext_lazy("Run selected %(verbose_name_plural)s now")
    )
    def run_now(self, request: HttpRequest, queryset: Any) -> None:
        for row in queryset:
            scheduling.run_now(self, request, row)

    @admin.action(permissions=["pause"], description=gettext_lazy("Pause selected %(verbose_name_plural)s"))
    def pause(self, request: HttpRequest, queryset: Any) -> None:
        for row in queryset:
            scheduling.pause(self, request, row)

    @admin.action(permissions=["pause"], description=gettext_lazy("Resume selected %(verbose_name_plural)s"))
    def resume(self, request: HttpRequest, queryset: Any) -> None:
        for row in queryset:
            scheduling.resume(self, request, row)

    # Pages.

    def get_urls(self) -> list[URLPattern]:
        views = (
            ("run_now", scheduling.run_now, self.has_run_now_permission),
            ("pause", scheduling.pause, self.has_pause_permission),
            ("resume", scheduling.resume, self.has_pause_permission),
        )
        of_one = [
            self.url_of(name, partial(self._operate, move=move, may=may), OF_ONE) for name, move, may in views
        ]
        return [*of_one, *super().get_urls()]

    def _operate(
        self,
        request: HttpRequest,
        object_id: str,
        move: Callable[[ScheduleAdmin, HttpRequest, Schedule], None],
        may: Callable[[HttpRequest], bool],
    ) -> HttpResponse:
        """What a button on the page of a schedule does; leads back to that page."""
        row = self.get_object(request, unquote(object_id))
        if not (self.has_view_permission(request, row) and may(request)):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if row is None:
            redirect: Any = self._get_obj_does_not_exist_redirect  # type: ignore[attr-defined]
            return redirect(request, self.opts, object_id)
        move(self, request, row)
        return HttpResponseRedirect(self.url(request, "change", row.pk))
