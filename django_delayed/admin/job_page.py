"""The page of one job: its facts, its errors, its payload."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

from django.contrib.admin.utils import unquote
from django.db.models import Exists, OuterRef
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..features.unique.definition import START
from ..features.unique.keys import UNIQUE, key_in
from ..models import DelayedJob, all_rows
from ..operations import pending_cancel
from ..states import CANCELLED, DelayedJobQuerySet, State
from .columns import tries
from .display import chip, count_text, exact, preformatted, progress_bar
from .filters import CauseFilter
from .paginator import capped_count
from .payloads import call_in, indented
from .readonly import QueueAdmin
from .timeline import attempt_lines, worker_names
from .wording import OF_OTHERS, Wording

MOMENTS = ("created_at", "run_at", "started_at", "failed_at", "finished_at")


# What became of a job that an operator retried or made due, and whether that may change in a moment.
PROGRESS = {
    State.ENQUEUED: (gettext_lazy("It has not been performed yet."), True),
    State.RUNNING: (gettext_lazy("It is being performed."), True),
    State.RETRYING: (gettext_lazy("Its last attempt failed, and it will be tried again."), True),
    State.FINISHED: (gettext_lazy("It passed."), False),
}


def contents(row: DelayedJob, with_arguments: bool, about: str) -> dict[str, Any]:
    """The context of the template of this job's page; without `with_arguments`, no arguments and no result.

    `about` is the object that the job is about, as a link or a text.
    """
    shown = changing(row, about)
    return {
        **shown,
        "call": _call(row) if with_arguments else _code(row.name),
        "facts": [*shown["facts"], *(_unique(row) if with_arguments else ())],
        "last_error": preformatted(row.last_error) if row.last_error else None,
        "attempts": attempt_lines(row),
        "result": preformatted(indented(row.result)) if row.result and with_arguments else None,
        "payload": preformatted(indented(row.payload)) if with_arguments else None,
    }


def facts_page(job_admin: QueueAdmin, request: HttpRequest, object_id: str) -> TemplateResponse:
    """The part of the page that changes while the job is performed, without the page around it."""
    row = job_admin.get_object(request, unquote(object_id))
    gone = {"progress": (gone_text(unquote(object_id)), False)}
    context = changing(row, row.about) if row else gone
    return TemplateResponse(request, "admin/django_delayed/delayedjob/changes.html", context)


def gone_text(key: str) -> str:
    """What an operator reads about a job that had this id."""
    return _("The delayed job %(id)s is gone: it was performed or discarded.") % {"id": key}


def changing(row: DelayedJob, about: str) -> dict[str, Any]:
    """The part of the context that changes while the job is performed."""
    return {
        "progress": _progress(row),
        # A job that was never tried has no progress, so none is read.
        "bar": progress_bar(row, row.progress if row.attempts else None),
        "facts": list(_facts(row, about)),
    }


def _progress(row: DelayedJob) -> tuple[Any, bool] | None:
    """What became of the job, and whether that may change in a moment."""
    if request := pending_cancel(row):
        who = {"by": request.requested_by or _("an operator"), "time": exact(request.requested_at)}
        return _("It is being performed; %(by)s asked it to end at %(time)s.") % who, True
    return PROGRESS.get(row.state)


def of_cause(row: DelayedJob, rows: DelayedJobQuerySet, may: Callable[[Wording], bool]) -> dict[str, Any]:
    """What the template says about the other jobs that failed for the same cause."""
    if row.error_fingerprint in ("", CANCELLED):
        return {}
    number = capped_count(CauseFilter.rows_of(rows, row.error_fingerprint).exclude(pk=row.pk))
    jobs = {"number": number, "jobs": count_text(number)}
    others = ngettext(
        "%(jobs)s other job failed for the same cause.",
        "%(jobs)s other jobs failed for the same cause.",
        number,
    )
    # While this job is failed itself, these moves would include it.
    moves = OF_OTHERS if number and row.state != State.FAILED else ()
    return {
        "cause": CauseFilter.query_for(row.error_fingerprint),
        "others": others % jobs if number else "",
        "of_others": [(wording.name, text % jobs) for wording, text in moves if may(wording)],
    }


def moves_of(row: DelayedJob, rows: DelayedJobQuerySet, wordings: Collection[Wording]) -> list[Wording]:
    """Those of these moves that can be made with this row now; one statement asks for all."""
    same = all_rows().filter(pk=OuterRef("pk"))
    can = {wording.name: Exists(wording.operation.allowed(same)) for wording in wordings}
    found = list(rows.filter(pk=row.pk).annotate(**can).values(*can)) if can else []
    return [wording for wording in wordings if found and found[0][wording.name]]


def _call(row: DelayedJob) -> str:
    text = call_in(row.payload)
    return _code(text) if text else preformatted(indented(row.payload))


def _code(call: str) -> str:
    return format_html('<code class="delayed-call">{}</code>', call)


def _facts(row: DelayedJob, about: str) -> Iterator[tuple[Any, Any]]:
    yield _("State"), chip(row.state)
    yield _("Attempts"), tries(row)
    yield _("Queue"), row.queue
    yield _("Priority"), row.priority
    if about:
        yield _("About"), about
    if row.locked_by:
        yield _("Worker"), worker_names(row, {row.locked_by}).get(row.locked_by, row.locked_by)
    for name in MOMENTS:
        if moment := getattr(row, name):
            yield row._meta.get_field(name).verbose_name, exact(moment)  # type: ignore[union-attr]


def _unique(row: DelayedJob) -> Iterator[tuple[Any, Any]]:
    if row.extras & UNIQUE and (key := key_in(row.payload)):
        until = _("until it begins") if key.until == START else _("until it ends")
        yield _("Unique"), f"{key.text or _('by its arguments')}, {until}"
