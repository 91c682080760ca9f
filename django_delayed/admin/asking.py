"""What an operator asks workers to do: be quiet, go on, or stop, which is confirmed first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, ngettext_lazy

from ..models import Verb, WorkerProcess, ask_workers
from .log import begin_entry_of_request, complete_entry_of_request

if TYPE_CHECKING:
    from .workers import WorkerProcessAdmin

DONE: dict[Verb, Any] = {
    Verb.QUIET: ngettext_lazy(
        "%(asked)d worker was asked to be quiet.", "%(asked)d workers were asked to be quiet.", "asked"
    ),
    Verb.RESUME: ngettext_lazy(
        "%(asked)d worker was asked to go on.", "%(asked)d workers were asked to go on.", "asked"
    ),
    Verb.STOP: ngettext_lazy(
        "%(asked)d worker was asked to stop.", "%(asked)d workers were asked to stop.", "asked"
    ),
}


def ask(request: HttpRequest, verb: Verb, workers: Sequence[WorkerProcess]) -> None:
    """Ask these workers, log it, and tell the operator how many were there."""
    asked = 0
    if workers:
        entry = begin_entry_of_request(verb, request.user, workers)
        asked = len(ask_workers(verb, [worker.pk for worker in workers], request.user.get_username()))
        complete_entry_of_request(entry, verb, workers, asked)
        messages.success(request, DONE[verb] % {"asked": asked})
    if (gone := len(set(request.POST.getlist(ACTION_CHECKBOX_NAME))) - asked) > 0:
        text = ngettext("%(gone)d worker is gone.", "%(gone)d workers are gone.", gone)
        messages.warning(request, text % {"gone": gone})


def question_before_stop(
    model_admin: WorkerProcessAdmin, request: HttpRequest, workers: Sequence[WorkerProcess]
) -> TemplateResponse:
    """The page that asks whether to stop these workers."""
    count = len(workers)
    context = model_admin.page_context(request) | {
        "title": ngettext("Stop %(count)d worker?", "Stop %(count)d workers?", count) % {"count": count},
        "verb": _("Stop"),
        "button": ngettext("Stop %(count)d worker", "Stop %(count)d workers", count) % {"count": count},
        "workers": workers,
        "checkbox": ACTION_CHECKBOX_NAME,
        "back": request.get_full_path(),
    }
    return TemplateResponse(request, "admin/django_delayed/workerprocess/confirmation.html", context)
