"""The list of delayed jobs, the page of one, and the operator's moves."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils.translation import gettext_lazy

from ..claiming import UNREADABLE
from ..models import FailureGroup
from ..states import State
from . import columns, job_page
from .adjusting import adjust_one
from .filters import CauseFilter, MomentRangeFilter, QueueFilter, StateFilter, state_in
from .job_list import JobList, order_of, search
from .objects import object_link
from .operating import operate_on_many, operate_on_one
from .paginator import CappedPaginator
from .reading import id_in, unreadable_text
from .readonly import OF_ONE, ReadOnlyAdmin
from .wording import (
    ADJUST_WORDING,
    CANCEL_WORDING,
    DISCARD_WORDING,
    GIVE_UP_WORDING,
    ON_PAGE,
    RETRY_WORDING,
    RUN_NOW_WORDING,
    WORDINGS,
    Wording,
)

try:
    from django.middleware.csp import get_nonce
except ImportError:
    # Django 5.2 has no CSP of its own, and django-csp sets `csp_nonce` itself.
    get_nonce = None  # type: ignore[assignment]


MOMENTS = ("run_at", "failed_at", "created_at")
FILTERS = (StateFilter, QueueFilter, CauseFilter)


class DelayedJobAdmin(ReadOnlyAdmin):
    """Delayed jobs: to find by state, queue, cause and time, to read, and to move."""

    list_display = columns.OF_ALL
    list_display_links = (columns.number,)
    list_filter = (*FILTERS, *((field, MomentRangeFilter) for field in MOMENTS))
    list_per_page = 50
    show_full_result_count = False
    # Facets cost one COUNT per choice.
    show_facets = admin.ShowFacets.NEVER
    paginator = CappedPaginator
    sortable_by = (columns.created,)  # type: ignore[assignment]
    search_fields = ("id", "name", "about")
    search_help_text = gettext_lazy("An id, the beginning of a name, or an object such as shop.post:9")
    actions = ("retry", "run_now", "give_up", "discard", "cancel")

    # Who may do what.

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Whether this user may retry failed jobs."""
        return self.may(request, RETRY_WORDING)

    def has_run_now_permission(self, request: HttpRequest) -> bool:
        """Whether this user may make waiting jobs due."""
        return self.may(request, RUN_NOW_WORDING)

    def has_give_up_permission(self, request: HttpRequest) -> bool:
        """Whether this user may give up jobs that are to be tried again."""
        return self.may(request, GIVE_UP_WORDING)

    def has_discard_permission(self, request: HttpRequest) -> bool:
        """Whether this user may discard jobs."""
        return self.may(request, DISCARD_WORDING)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Whether this user may end running jobs."""
        return self.may(request, CANCEL_WORDING)

    def has_view_arguments_permission(self, request: HttpRequest) -> bool:
        """Whether this user may see the arguments of jobs, mails with their bodies included."""
        return self.has(request, "view_arguments")

    def may(self, request: HttpRequest, wording: Wording) -> bool:
        """Whether this user may make this move."""
        return self.has(request, wording.name)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        of_moments = (name for field in MOMENTS for name in MomentRangeFilter.names_for(field))
        return lookup in {*of_moments, *(filter.parameter_name for filter in FILTERS)}

    # The list.

    def get_list_display(self, request: HttpRequest) -> Any:
        return columns.OF_STATE.get(state_in(request), self.list_display)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return JobList

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        return order_of(request)

    def get_sortable_by(self, request: HttpRequest) -> Any:
        # No index has the waiting jobs in the order of their ids.
        return () if state_in(request) in (State.SCHEDULED, State.ENQUEUED) else self.sortable_by

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        return search(queryset, search_term), False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        share_nonce(request)
        response = super().changelist_view(request, {"causes": self._causes} | (extra_context or {}))
        if isinstance(response, TemplateResponse) and "cl" in (response.context_data or {}):
            for spec in response.context_data["cl"].filter_specs:  # type: ignore[index]
                for problem in getattr(spec, "problems", ()):
                    messages.error(request, problem)
        return response

    # One job.

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        # The template shows the fields.
        return [(None, {"fields": []})]

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row = context["original"]
        rows = self.rows(request)
        allowed = [wording for wording in ON_PAGE if self.may(request, wording)]
        context["wordings"] = job_page.moves_of(row, rows, allowed)
        about = object_link(self.admin_site, request, row.about)
        context |= job_page.contents(row, self.has_view_arguments_permission(request), about)
        context |= job_page.of_cause(row, rows, partial(self.may, request)) | {"causes": self._causes}
        return super().render_change_form(request, context, *args, **kwargs)

    def _get_obj_does_not_exist_redirect(
        self, request: HttpRequest, opts: Any, object_id: str
    ) -> HttpResponseRedirect:
        return self.redirect_from_gone(request, object_id)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        try:
            return super().get_object(request, object_id, from_field)
        except UNREADABLE:
            return None

    def redirect_from_gone(self, request: HttpRequest, object_id: str) -> HttpResponseRedirect:
        """Say that there is no such job (any more), and redirect to the list that the operator came from."""
        key = unquote(object_id)
        if (pk := id_in(key)) and self.rows(request).filter(pk=pk).exists():
            messages.error(request, unreadable_text([pk]))
        else:
            messages.warning(request, job_page.gone_text(key))
        return HttpResponseRedirect(self.url(request, "changelist"))

    # Operations.

    @admin.action(permissions=["retry"], description=gettext_lazy("Retry selected %(verbose_name_plural)s"))
    def retry(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return operate_on_many(self, request, RETRY_WORDING, queryset)

    @admin.action(
        permissions=["run_now"], description=gettext_lazy("Run selected %(verbose_name_plural)s now")
    )
    def run_now(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return operate_on_many(self, request, RUN_NOW_WORDING, queryset)

    @admin.action(
        permissions=["give_up"], description=gettext_lazy("Give up selected %(verbose_name_plural)s")
    )
    def give_up(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return operate_on_many(self, request, GIVE_UP_WORDING, queryset)

    @admin.action(
        permissions=["discard"], description=gettext_lazy("Discard selected %(verbose_name_plural)s")
    )
    def discard(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return operate_on_many(self, request, DISCARD_WORDING, queryset)

    @admin.action(permissions=["cancel"], description=gettext_lazy("End selected %(verbose_name_plural)s"))
    def cancel(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return operate_on_many(self, request, CANCEL_WORDING, queryset)

    # Pages.

    def get_urls(self) -> list[URLPattern]:
        views: dict[str, Any] = {each.name: partial(operate_on_one, self, wording=each) for each in WORDINGS}
        views |= {
            ADJUST_WORDING.name: partial(adjust_one, self),
            "facts": self.for_viewers(job_page.facts_page),
        }
        of_one = [self.url_of(name, view, OF_ONE) for name, view in views.items()]
        return [*of_one, *super().get_urls()]

    @property
    def _causes(self) -> Any:
        """The `_meta` of FailureGroup, if this site has its pages; None otherwise."""
        return FailureGroup._meta if self.admin_site.is_registered(FailureGroup) else None

    def rows(self, request: HttpRequest) -> Any:
        """The rows that this user may look at, with the verbs of `states`."""
        return self.get_queryset(request)

    def url(self, request: HttpRequest, page: str, *args: Any) -> str:
        """A page of this admin, with the filters of the list that the operator came from."""
        address = super().url(request, page, *args)
        filters = request.GET.get("_changelist_filters", "")
        query = filters if page == "changelist" else urlencode({"_changelist_filters": filters})
        return f"{address}?{query}" if filters else address


def share_nonce(request: HttpRequest) -> None:
    """Copy the nonce of Django's own CSP to the attribute of django-csp, which rangefilter reads."""
    nonce = get_nonce(request) if get_nonce and not hasattr(request, "csp_nonce") else None  # type: ignore[truthy-function]
    if nonce is not None:
        request.csp_nonce = nonce  # type: ignore[attr-defined]
