"""The page of one cause: where its jobs failed, the newest traceback, a note, what can be done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import stats
from ..conf import settings
from ..models import NOTE_LIMIT, WorkerProcess, all_groups, all_rows
from .cause_lines import SHOWN, first_seen, line_of
from .causes import may_make
from .display import ago, exact
from .downloads import MOST_JOBS
from .filters import CauseFilter
from .log import write_entry_of_note
from .wording import RETRY_WORDING

if TYPE_CHECKING:
    from .failure_groups import FailureGroupAdmin

MOST_PLACES = 10


class NoteForm(forms.Form):
    """The note about a cause."""

    note = forms.CharField(
        label=gettext_lazy("Note"),
        max_length=NOTE_LIMIT,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
    )


def page(group_admin: FailureGroupAdmin, request: HttpRequest, form: NoteForm | None = None) -> HttpResponse:
    """The page of the cause in the address; redirects to the list if there is no such cause."""
    fingerprint = CauseFilter.fingerprint_in(request)
    cause = None if fingerprint is None else stats.cause(fingerprint)
    group = None if fingerprint is None else all_groups().filter(pk=fingerprint).first()
    if fingerprint is None or (cause is None and group is None):
        return _leave(group_admin, request)
    moves = may_make(group_admin, request)
    row = all_rows().only(*SHOWN).filter(pk=cause.newest).first() if cause else None
    line = line_of(cause, row, group, moves) if row else None
    context = group_admin.page_context(request) | {
        "title": line.error if line else _("Cause %(fingerprint)s") % {"fingerprint": group},
        "line": line,
        "query": CauseFilter.query_for(fingerprint),
        "queues": list(cause.queues.items())[:MOST_PLACES] if cause else [],
        "places": list(_places(fingerprint)) if cause else [],
        "newest": stats.NEWEST if cause and cause.jobs > stats.NEWEST else None,
        "first": exact(first_seen(cause, group)),
        "last": exact(cause.last) if cause else None,
        "group": group,
        "settled": ago(group.settled_at) if group else None,
        "noted": ago(group.noted_at) if group else None,
        "form": form or _form(group) if cause and group_admin.has_note_permission(request) else None,
        "may_retry": RETRY_WORDING in moves,
        "most_downloaded": MOST_JOBS if cause and cause.jobs > MOST_JOBS else None,
    }
    return TemplateResponse(request, "admin/django_delayed/failuregroup/cause.html", context)


def write_note(group_admin: FailureGroupAdmin, request: HttpRequest) -> HttpResponse:
    """Write the note that was sent about the cause in the address; redirects to its page."""
    if not group_admin.has_note_permission(request):
        raise PermissionDenied
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    form = NoteForm(request.POST)
    if not form.is_valid():
        return page(group_admin, request, form)
    fingerprint = CauseFilter.fingerprint_in(request)
    groups = all_groups()
    if fingerprint is None or not groups.note(
        fingerprint, form.cleaned_data["note"], request.user.get_username()
    ):
        return _leave(group_admin, request)
    write_entry_of_note(groups.get(pk=fingerprint), request.user)
    messages.success(request, _("The note was written."))
    return HttpResponseRedirect(f"{group_admin.url(request, 'cause')}?{CauseFilter.query_for(fingerprint)}")


def _form(group: Any) -> NoteForm:
    return NoteForm(initial={"note": group.note if group else ""})


def _leave(group_admin: FailureGroupAdmin, request: HttpRequest) -> HttpResponse:
    messages.warning(request, _("No job has failed for this cause."))
    return HttpResponseRedirect(group_admin.url(request, "changelist"))


def _places(fingerprint: str) -> Iterator[tuple[str, str, int]]:
    """Host, worker and number of jobs, for the workers on which most of the newest jobs failed."""
    found = stats.failed_on(fingerprint)[:MOST_PLACES]
    workers = WorkerProcess.objects.using(settings.DATABASE).in_bulk([worker for _, worker, _ in found])
    for hostname, worker, jobs in found:
        known = workers.get(worker)
        yield hostname or _("unknown"), f"{known.hostname}:{known.pid}" if known else worker, jobs
