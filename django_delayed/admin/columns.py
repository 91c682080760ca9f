"""The columns of the list of delayed jobs."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from ..models import DelayedJob
from ..states import State
from . import job_page
from .display import ago, chip, error_line
from .filters import CauseFilter

ERROR_LENGTH = 120
# Up to megabytes a row, and the list shows none of them.
WIDE = ("payload", "last_error", "result")


@admin.display(description=_("name"))
def name_and_about(row: DelayedJob) -> str:
    """The name, and the object that the job is about below it."""
    return format_html('{} <span class="delayed-about">{}</span>', row.name, row.about)


@admin.display(description=_("state"))
def state(row: DelayedJob) -> str:
    """The state as a coloured word."""
    return chip(row.state)


@admin.display(description=_("attempts"))
def tries(row: DelayedJob) -> str:
    """How many attempts of how many."""
    return job_page.tries(row)


@admin.display(description=_("run at"))
def due(row: DelayedJob) -> Any:
    """When it is or was due."""
    return ago(row.run_at)


@admin.display(description=_("last error"))
def error(row: DelayedJob) -> Any:
    """The last error; for a failed job a link to all that failed for this cause."""
    text = error_line(row)
    if not text:
        return None
    short = text if len(text) <= ERROR_LENGTH else f"{text[:ERROR_LENGTH]}…"
    line = format_html('<span class="delayed-error" title="{}">{}</span>', text, short)
    if row.state != State.FAILED:
        return line
    return format_html('<a href="?{}">{}</a>', CauseFilter.query_for(row.error_fingerprint), line)


@admin.display(description=_("created"), ordering="id")
def created(row: DelayedJob) -> Any:
    """When it was enqueued."""
    return ago(row.created_at)
