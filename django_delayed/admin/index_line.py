"""One line of the overview on the index of an admin site."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any

from django.contrib.admin import AdminSite
from django.db import Error
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from .. import stats
from ..databases import LANES_INDEX
from ..models import PausedQueue, all_rows
from .display import count_text, duration_text

View = Callable[..., HttpResponse]


def show_line(site: AdminSite) -> None:
    """Let the entry of the overview on the index of this site say how many jobs failed and wait.

    An app can add nothing to an index without a change of the project's templates. So the `index` of the site
    is wrapped, and the name of that entry is changed before the page is rendered.
    """
    if not hasattr(site.index, "shows_line"):
        site.index = _with_line(site.index)  # type: ignore[method-assign,assignment]


def _with_line(index: View) -> View:
    @wraps(index)
    def index_with_line(request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response = index(request, extra_context)
        if isinstance(response, TemplateResponse) and not response.is_rendered:
            _name_the_overview((response.context_data or {}).get("app_list", []))
        return response

    index_with_line.shows_line = True  # type: ignore[attr-defined]
    return index_with_line


def _name_the_overview(apps: list[dict[str, Any]]) -> None:
    # The index has the entry only for users who may see it.
    for entry in (entry for app in apps for entry in app["models"] if entry.get("model") is PausedQueue):
        # The index is about other apps too: it has to open while the queue's database is away.
        with suppress(Error):
            entry["name"] = _line()


def _line() -> str:
    """The numbers that an operator looks at first, in two statements."""
    oldest = stats.latency()
    counted = [
        stats.by_index(all_rows().failed(), "delayed_job_failed"),
        stats.by_index(all_rows().waiting(), LANES_INDEX),
    ]
    failed, waiting = map(count_text, stats.capped_counts(counted))
    numbers = {"failed": failed, "waiting": waiting, "time": duration_text(oldest)}
    if not oldest:
        return _("Overview: %(failed)s failed, %(waiting)s waiting") % numbers
    return _("Overview: %(failed)s failed, %(waiting)s waiting, the oldest for %(time)s") % numbers
