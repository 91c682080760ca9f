"""The list of delayed jobs, the page of one, and the operator's moves."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_permission_codename
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..models import DelayedJob
from ..states import DelayedJobQuerySet, State
from . import job_page
from .confirmation import Confirmation
from .display import ago, chip
from .filters import MomentRangeFilter, QueueFilter, StateFilter
from .paginator import CappedPaginator
from .readonly import ReadOnlyAdmin
from .wording import DISCARD_WORDING, RETRY_WORDING, Wording

try:
    from django.middleware.csp import get_nonce
except ImportError:
    # Django 5.2 has no policy of its own, and django-csp sets `csp_nonce` itself.
    get_nonce = None  # type: ignore[assignment]


# Up to megabytes a row, and the list shows none of them.
WIDE = ("payload", "last_error", "result")
LARGEST_ID = 2**63 - 1
ERROR_LENGTH = 120


class JobList(ChangeList):
    """The list without the wide columns."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        return super().get_queryset(request, exclude_parameters).defer(*WIDE)


class DelayedJobAdmin(ReadOnlyAdmin):
    """Delayed jobs: to find by state, queue and time, to read, to retry and to discard."""

    list_display = ("name_and_about", "state", "queue", "tries", "due", "error", "created")
    list_display_links = ("name_and_about",)
    list_filter = (
        StateFilter,
        QueueFilter,
        ("run_at", MomentRangeFilter),
        ("failed_at", MomentRangeFilter),
        ("created_at", MomentRangeFilter),
    )
    list_per_page = 50
    show_full_result_count = False
    # One COUNT a choice.
    show_facets = admin.ShowFacets.NEVER
    paginator = CappedPaginator
    sortable_by = ("created",)
    search_fields = ("id", "name", "about")
    search_help_text = gettext_lazy("An id, the beginning of a name, or an object such as shop.post:9")
    actions = ("retry", "discard")

    class Media:
        css = {"all": ["django_delayed/admin.css"]}

    # Who may do what.

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Whether this user may retry failed jobs."""
        return self._may(request, RETRY_WORDING)

    def has_discard_permission(self, request: HttpRequest) -> bool:
        """Whether this user may discard jobs."""
        return self._may(request, DISCARD_WORDING)

    def has_view_arguments_permission(self, request: HttpRequest) -> bool:
        """Whether this user may see the arguments of jobs, mails with their bodies included."""
        return self._has(request, "view_arguments")

    def _may(self, request: HttpRequest, wording: Wording) -> bool:
        return self._has(request, wording.name)

    def _has(self, request: HttpRequest, permission: str) -> bool:
        codename = get_permission_codename(permission, self.opts)
        return bool(request.user.has_perm(f"{self.opts.app_label}.{codename}"))

    # The list.

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return JobList

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        # Each as an index has it: sorting a large table takes seconds.
        by_failure = request.GET.get("state") == State.FAILED or any(
            value for name, value in request.GET.items() if name.startswith("failed_at__")
        )
        return ("-failed_at", "-id") if by_failure else ("-id",)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        term = search_term.strip().removeprefix("#")
        if not term:
            return queryset, False
        if term.isdecimal():
            return (queryset.filter(pk=int(term)) if int(term) <= LARGEST_ID else queryset.none()), False
        # Not both with an OR, which would not use the index of `about`.
        found = {"about": term} if ":" in term else {"name__startswith": term}
        return queryset.filter(**found), False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        share_nonce(request)
        title = {"title": capfirst(self.opts.verbose_name_plural)}
        response = super().changelist_view(request, title | (extra_context or {}))
        if isinstance(response, TemplateResponse) and "cl" in (response.context_data or {}):
            for spec in response.context_data["cl"].filter_specs:  # type: ignore[index]
                for problem in getattr(spec, "problems", ()):
                    messages.error(request, problem)
        return response

    @admin.display(description=gettext_lazy("name"))
    def name_and_about(self, row: DelayedJob) -> str:
        return format_html('{} <span class="delayed-about">{}</span>', row.name, row.about)

    @admin.display(description=gettext_lazy("state"))
    def state(self, row: DelayedJob) -> str:
        return chip(row.state)

    @admin.display(description=gettext_lazy("attempts"))
    def tries(self, row: DelayedJob) -> str:
        return job_page.tries(row)

    @admin.display(description=gettext_lazy("run at"))
    def due(self, row: DelayedJob) -> str | None:
        return ago(row.run_at)

    @admin.display(description=gettext_lazy("last error"))
    def error(self, row: DelayedJob) -> str | None:
        text = f"{row.error_class}: {row.error_message}" if row.error_message else row.error_class
        if not text:
            return None
        short = text if len(text) <= ERROR_LENGTH else f"{text[:ERROR_LENGTH]}…"
        return format_html('<span class="delayed-error" title="{}">{}</span>', text, short)

    @admin.display(description=gettext_lazy("created"), ordering="id")
    def created(self, row: DelayedJob) -> str | None:
        return ago(row.created_at)

    # One job.

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        # The template shows the fields.
        return [(None, {"fields": []})]

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row = context["original"]
        rows = self._rows(request, row.pk)
        context["wordings"] = [
            wording
            for wording in (RETRY_WORDING, DISCARD_WORDING)
            if self._may(request, wording) and wording.operation.allowed(rows).exists()
        ]
        context |= job_page.contents(row, self.has_view_arguments_permission(request))
        return super().render_change_form(request, context, *args, **kwargs)

    def _rows(self, request: HttpRequest, pk: int) -> DelayedJobQuerySet:
        rows: Any = self.get_queryset(request)
        return rows.filter(pk=pk)

    def get_urls(self) -> list[URLPattern]:
        return [self._url_of(RETRY_WORDING), self._url_of(DISCARD_WORDING), *super().get_urls()]

    def _url_of(self, wording: Wording) -> URLPattern:
        def view(request: HttpRequest, object_id: str) -> HttpResponse:
            return self.operate_on_one(request, wording, object_id)

        name = f"{self.opts.app_label}_{self.opts.model_name}_{wording.name}"
        return path(f"<path:object_id>/{wording.name}/", self.admin_site.admin_view(view), name=name)

    # Operations.

    @admin.action(permissions=["retry"], description=gettext_lazy("Retry selected %(verbose_name_plural)s"))
    def retry(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return self.operate_on_many(request, RETRY_WORDING, queryset)

    @admin.action(
        permissions=["discard"], description=gettext_lazy("Discard selected %(verbose_name_plural)s")
    )
    def discard(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return self.operate_on_many(request, DISCARD_WORDING, queryset)

    def operate_on_many(self, request: HttpRequest, wording: Wording, rows: Any) -> HttpResponse | None:
        """Ask about the chosen jobs, or move them if that was answered; None leads back to the same list."""
        confirmation = Confirmation(request, wording, rows)
        if confirmation.is_given:
            confirmation.make_moves()
            return None
        return confirmation.page(self._context(request), back=request.get_full_path())

    def operate_on_one(self, request: HttpRequest, wording: Wording, object_id: str) -> HttpResponse:
        """Ask about one job, or move it if that was answered; leads back to its page, or to the list."""
        row = self.get_object(request, object_id)
        if not (self.has_view_permission(request, row) and self._may(request, wording)):
            raise PermissionDenied
        if row is None:
            messages.warning(request, _("The delayed job %(id)s is gone.") % {"id": object_id})
            return HttpResponseRedirect(self._url(request, "changelist"))
        confirmation = Confirmation(request, wording, self._rows(request, row.pk))
        page_of_job = self._url(request, "change", row.pk)
        if confirmation.is_given:
            confirmation.make_moves(row)
            is_there = self._rows(request, row.pk).exists()
            return HttpResponseRedirect(page_of_job if is_there else self._url(request, "changelist"))
        page = confirmation.page(self._context(request), back=page_of_job)
        return page or HttpResponseRedirect(page_of_job)

    def _context(self, request: HttpRequest) -> dict[str, Any]:
        request.current_app = self.admin_site.name
        return {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}

    def _url(self, request: HttpRequest, page: str, *args: Any) -> str:
        """A page of this admin, with the filters of the list that the operator came from."""
        name = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_{page}"
        filters = request.GET.get("_changelist_filters", "")
        query = filters if page == "changelist" else urlencode({"_changelist_filters": filters})
        return f"{reverse(name, args=args)}?{query}" if filters else reverse(name, args=args)


def share_nonce(request: HttpRequest) -> None:
    """Copy the nonce of Django's own CSP to the attribute of django-csp, which rangefilter reads."""
    nonce = get_nonce(request) if get_nonce and not hasattr(request, "csp_nonce") else None  # type: ignore[truthy-function]
    if nonce is not None:
        request.csp_nonce = nonce  # type: ignore[attr-defined]
