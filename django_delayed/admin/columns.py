"""The columns of the list of delayed jobs: for all jobs, and for the jobs in each state."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..models import DelayedJob, WorkerProcess
from ..states import State
from .display import ago, chip, error_line, progress_bar
from .filters import CauseFilter, QueueFilter, StateFilter

ERROR_LENGTH = 120
# A row may have megabytes in these columns, and the list shows none of them.
WIDE = ("payload", "last_error", "result")


@admin.display(description=_("job"))
def number(row: DelayedJob) -> str:
    """Its id, which leads to its page."""
    return f"#{row.pk}"


@admin.display(description=_("name"))
def what(row: DelayedJob) -> str:
    """The name, the object that the job is about, the last error: each a link to the jobs that share it."""
    name = _link(row, row.name, {SEARCH_VAR: row.name} if _is_found_by_name(row.name) else {})
    about = _link(row, row.about, {SEARCH_VAR: row.about} if ":" in row.about else {})
    return format_html('{} <span class="delayed-about">{}</span> {}', name, about, _error(row))


@admin.display(description=_("state"))
def state(row: DelayedJob) -> str:
    """The state as a coloured word."""
    return chip(row.state)


@admin.display(description=_("queue"))
def queue(row: DelayedJob) -> str:
    """The queue, with a link to its jobs."""
    return _link(row, row.queue, {QueueFilter.parameter_name: row.queue} if row.queue else {})


@admin.display(description=_("attempts"))
def tries(row: DelayedJob) -> str:
    """ "2 of 25", and how many attempts in a row its worker crashed in."""
    counted = gettext("%(attempts)s of %(most)s") % {"attempts": row.attempts, "most": row.max_attempts}
    if not row.crashes:
        return counted
    crashes = {"counted": counted, "crashes": row.crashes}
    return gettext("%(counted)s; crashes in a row: %(crashes)s") % crashes


@admin.display(description=_("run at"))
def due(row: DelayedJob) -> Any:
    """When it is or was due."""
    return ago(row.run_at)


@admin.display(description=_("worker"))
def worker(row: DelayedJob) -> str:
    """The host and the process of the worker that performs it; the worker's id if its row is gone."""
    found: WorkerProcess | None = getattr(row, "worker", None)
    return f"{found.name} {found.hostname}:{found.pid}".lstrip() if found else row.locked_by


@admin.display(description=_("since"))
def running_since(row: DelayedJob) -> Any:
    """Since when it runs; for a job that has not started yet, since when it is claimed."""
    return ago(row.started_at or row.locked_at)


@admin.display(description=_("progress"))
def progress(row: DelayedJob) -> str:
    """How far it is."""
    return progress_bar(row, getattr(row, "said", None))


@admin.display(description=_("failed at"))
def failed(row: DelayedJob) -> Any:
    """When it was given up."""
    return ago(row.failed_at)


@admin.display(description=_("finished at"))
def finished(row: DelayedJob) -> Any:
    """When it was performed."""
    return ago(row.finished_at)


@admin.display(description=_("expires at"))
def expires(row: DelayedJob) -> Any:
    """Until when its row is kept."""
    return ago(row.expires_at)


@admin.display(description=_("created"), ordering="id")
def created(row: DelayedJob) -> Any:
    """When it was enqueued."""
    return ago(row.created_at)


OF_ALL = (number, what, state, queue, tries, due, created)
OF_STATE: dict[State | None, tuple[Any, ...]] = {
    State.SCHEDULED: (number, what, queue, "priority", due, created),
    State.ENQUEUED: (number, what, queue, "priority", due, created),
    State.RUNNING: (number, what, queue, tries, worker, running_since, progress),
    State.RETRYING: (number, what, queue, tries, due, created),
    State.FAILED: (number, what, queue, tries, failed, created),
    State.FINISHED: (number, what, queue, tries, finished, expires),
}


def _link(row: DelayedJob, text: str, query: dict[str, str]) -> str:
    """The text as a link to the jobs that this query finds, in the state of the list."""
    if not query:
        return text
    state: State | None = getattr(row, "list_state", None)
    kept = {StateFilter.parameter_name: state.value} if state else {}
    return format_html('<a href="?{}">{}</a>', urlencode(kept | query), text)


def _is_found_by_name(name: str) -> bool:
    # The search would take any other name for an id or an object.
    return bool(name) and ":" not in name and not name.removeprefix("#").isdecimal() and "\0" not in name


def _error(row: DelayedJob) -> str:
    """The last error; for a job that has a cause, a link to all that failed or are retried for it."""
    text = error_line(row)
    if not text:
        return ""
    short = text if len(text) <= ERROR_LENGTH else f"{text[:ERROR_LENGTH]}…"
    line = format_html('<span class="delayed-error" title="{}">{}</span>', text, short)
    if row.state not in (State.FAILED, State.RETRYING):
        return line
    state = urlencode({StateFilter.parameter_name: row.state.value})
    return format_html(
        '<a href="?{}&amp;{}">{}</a>', state, CauseFilter.query_for(row.error_fingerprint), line
    )
