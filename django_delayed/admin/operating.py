"""The views that make an operator's moves: on one job, on many, on the failed jobs of one cause."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect

from ..models import DelayedJob
from ..states import State
from .confirmation import Confirmation
from .filters import CauseFilter, state_in
from .wording import RETRY_WORDING, Wording

if TYPE_CHECKING:
    from .delayed_jobs import DelayedJobAdmin
    from .failure_groups import FailureGroupAdmin

# How long the row of a single job stays after it was performed: the operator can see what became of it.
KEEP_FOR = timedelta(hours=1)


def operate_on_many(
    model_admin: DelayedJobAdmin, request: HttpRequest, wording: Wording, rows: Any
) -> HttpResponse | None:
    """Ask about the chosen jobs, or move them if that was confirmed; None leads back to the same list."""
    # The oldest first, whatever the list shows first: rows that the filter finds only now come at the end.
    oldest_first = rows.order_by(*(name.removeprefix("-") for name in model_admin.get_ordering(request)))
    confirmation = Confirmation(request, wording, oldest_first, state=state_in(request))
    if confirmation.across and not request.GET.get(CauseFilter.parameter_name):
        confirmation.rows = wording.operation.among_all(oldest_first)
    if confirmation.is_given:
        confirmation.make_moves()
        return None
    return confirmation.page(model_admin.page_context(request), back=request.get_full_path())


def operate_on_one(
    model_admin: DelayedJobAdmin, request: HttpRequest, wording: Wording, object_id: str
) -> HttpResponse:
    """Ask about one job, or move it if that was confirmed; leads back to its page, or to the list."""
    row = model_admin.get_object(request, object_id)
    refuse_who_may_not(model_admin, request, wording, row)
    if row is None:
        return model_admin.redirect_from_gone(request, object_id)
    confirmation = Confirmation(request, wording, model_admin.rows(request).filter(pk=row.pk))
    if confirmation.is_given:
        return _moved_one(model_admin, request, confirmation, row)
    page_of_job = model_admin.url(request, "change", row.pk)
    page = confirmation.page(model_admin.page_context(request), back=page_of_job)
    return page or HttpResponseRedirect(page_of_job)


def operate_on_cause(group_admin: FailureGroupAdmin, request: HttpRequest, wording: Wording) -> HttpResponse:
    """Ask about the failed jobs of one cause, or move them if that was confirmed; leads to the causes."""
    refuse_who_may_not(group_admin, request, wording)
    rows = CauseFilter.rows_of(group_admin.rows(request), CauseFilter.fingerprint_in(request))
    name = CauseFilter.parameter_name
    filters = f"{name}={request.GET.get(name, '')}"
    confirmation = Confirmation(request, wording, rows.order_by("failed_at", "id"), filters, State.FAILED)
    causes = group_admin.url(request, "changelist")
    if confirmation.is_given:
        confirmation.make_moves()
        return HttpResponseRedirect(causes)
    return confirmation.page(group_admin.page_context(request), back=causes) or HttpResponseRedirect(causes)


def retry_one_of_cause(group_admin: FailureGroupAdmin, request: HttpRequest) -> HttpResponse:
    """Retry the job that failed last for one cause, without a question; leads to the page of that job."""
    refuse_who_may_not(group_admin, request, RETRY_WORDING)
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    rows = group_admin.rows(request)
    row = CauseFilter.newest(rows, CauseFilter.fingerprint_in(request))
    if row is None:
        messages.warning(request, RETRY_WORDING.refused)
        return HttpResponseRedirect(group_admin.url(request, "changelist"))
    confirmation = Confirmation(request, RETRY_WORDING, rows.filter(pk=row.pk))
    return _moved_one(group_admin.jobs, request, confirmation, row)


def _moved_one(
    model_admin: DelayedJobAdmin, request: HttpRequest, confirmation: Confirmation, row: DelayedJob
) -> HttpResponse:
    confirmation.make_moves(row, KEEP_FOR)
    is_there = model_admin.rows(request).filter(pk=row.pk).exists()
    pages = ("change", row.pk) if is_there else ("changelist",)
    return HttpResponseRedirect(model_admin.url(request, *pages))


def refuse_who_may_not(
    model_admin: DelayedJobAdmin | FailureGroupAdmin,
    request: HttpRequest,
    wording: Wording,
    row: DelayedJob | None = None,
) -> None:
    """Raise PermissionDenied for a user who may not view the row and make this move."""
    if not (model_admin.has_view_permission(request, row) and model_admin.may(request, wording)):
        raise PermissionDenied
