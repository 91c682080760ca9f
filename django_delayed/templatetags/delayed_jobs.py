"""The tags for templates of the project: `{% load delayed_jobs %}`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import template
from django.template.context import Context

from ..features.progress.pages import progress_context
from ..models import DelayedJob

register = template.Library()


@register.inclusion_tag("django_delayed/progress.html", takes_context=True)
def job_progress(
    context: Context, row: DelayedJob, max_age: timedelta | float | None = None
) -> dict[str, Any]:
    """The progress of this row's job, which a script keeps up to date. Raises as `progress_url` does."""
    # The nonce of Django's content security policy, if the context has it.
    return {**progress_context(row, max_age), "csp_nonce": context.get("csp_nonce")}
