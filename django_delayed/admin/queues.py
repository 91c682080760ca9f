"""The admin of the overview, in which queues are paused and resumed."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.translation import gettext as _

from .. import operations
from ..models import DelayedJob
from . import operations_log, overview
from .index_line import show_line
from .log import write_entry_of_pause
from .readonly import ReadOnlyAdmin, may_view


class PausedQueueAdmin(ReadOnlyAdmin):
    """The overview, for those who may view delayed jobs."""

    def __init__(self, model: type[Any], admin_site: AdminSite) -> None:
        super().__init__(model, admin_site)
        show_line(admin_site)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may_view(self.admin_site, DelayedJob, request)

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """Whether this user may pause and resume queues."""
        return bool(request.user.has_perm(f"{self.opts.app_label}.pause_queue"))

    def get_urls(self) -> list[URLPattern]:
        return [
            self.url_of("pause", partial(self.change_queue, verb="pause")),
            self.url_of("resume", partial(self.change_queue, verb="resume")),
            self.url_of("numbers", self.for_viewers(overview.numbers)),
            self.url_of("operations", self.for_viewers(operations_log.page)),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        response: HttpResponse = self.for_viewers(overview.page)(request)
        return response

    def change_queue(self, request: HttpRequest, verb: str) -> HttpResponse:
        """Pause or resume the queue that the request names; leads back to the overview."""
        if not (self.has_view_permission(request) and self.has_pause_permission(request)):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        queue, by = request.POST.get("queue", ""), request.user.get_username()
        try:
            changed = operations.pause([queue], by) if verb == "pause" else operations.resume([queue])
        except ValueError as error:
            messages.error(request, str(error))
            changed = []
        if changed:
            write_entry_of_pause(verb, queue, request.user)
            done = {
                "pause": _("No worker claims jobs of the queue “%(queue)s” any more."),
                "resume": _("Workers claim jobs of the queue “%(queue)s” again."),
            }
            messages.success(request, done[verb] % {"queue": queue})
        return HttpResponseRedirect(self.url(request, "changelist"))
