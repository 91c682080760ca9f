"""Failed jobs by cause: the pages, and who may do what there."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib.admin.utils import unquote
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern

from ..models import DelayedJob
from . import cause_page, causes, downloads
from .filters import CauseFilter
from .operating import operate_on_cause, retry_one_of_cause
from .readonly import ReadOnlyAdmin, may_view
from .wording import DISCARD_WORDING, RETRY_WORDING, Wording


class FailureGroupAdmin(ReadOnlyAdmin):
    """Failed jobs by cause: to read, to retry, to discard, to download, to write a note about.

    It belongs to the admin of delayed jobs on the same site: users who may view or move those may do so here.
    """

    @property
    def jobs(self) -> Any:
        """The admin of delayed jobs on this site."""
        return self.admin_site.get_model_admin(DelayedJob)

    # Who may do what.

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may_view(self.admin_site, DelayedJob, request)

    def has_note_permission(self, request: HttpRequest) -> bool:
        """Whether this user may write notes."""
        return self.has(request, "note")

    def may(self, request: HttpRequest, wording: Wording) -> bool:
        """Whether this user may make this move."""
        return bool(self.jobs.may(request, wording))

    def rows(self, request: HttpRequest) -> Any:
        """The delayed jobs that this user may look at."""
        return self.jobs.rows(request)

    # Pages.

    def get_urls(self) -> list[URLPattern]:
        # Before Django's own patterns, which would take these names for ids.
        return [
            self.url_of("cause", self.for_viewers(cause_page.page)),
            self.url_of("note", self.for_viewers(cause_page.write_note)),
            self.url_of("download", self.for_viewers(downloads.failed_jobs)),
            self.url_of("retry_one", partial(retry_one_of_cause, self)),
            *(
                self.url_of(wording.name, partial(operate_on_cause, self, wording=wording))
                for wording in (RETRY_WORDING, DISCARD_WORDING)
            ),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        response: HttpResponse = self.for_viewers(causes.page)(request)
        return response

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        # The entries of the admin's log link to this page.
        query = CauseFilter.query_for(unquote(object_id))
        return HttpResponseRedirect(f"{self.url(request, 'cause')}?{query}")

    def page_context(self, request: HttpRequest) -> dict[str, Any]:
        return super().page_context(request) | {"jobs": self.jobs.opts}
