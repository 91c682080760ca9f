"""The page of causes: failed jobs by the fingerprint of their error, with what can be done about each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from .. import stats
from ..models import all_rows
from ..serialization.frames import innermost_frame_in
from .display import ago, error_line
from .filters import CauseFilter
from .wording import DISCARD_WORDING, RETRY_WORDING, Wording

if TYPE_CHECKING:
    from .delayed_jobs import DelayedJobAdmin

MOST_CAUSES = 50
SHOWN = ("name", "error_class", "error_message", "last_error")


class CauseLine(NamedTuple):
    """A cause as the page shows it; name, error and frame are those of its newest job."""

    cause: stats.Cause
    query: str
    name: str
    error: str
    frame: str
    first: str | None
    last: str | None
    moves: list[tuple[str, str]]


def page(model_admin: DelayedJobAdmin, request: HttpRequest) -> TemplateResponse:
    """The causes of which the most jobs failed."""
    found = stats.causes(MOST_CAUSES + 1)
    may = [wording for wording in (RETRY_WORDING, DISCARD_WORDING) if model_admin.may(request, wording)]
    context = model_admin.page_context(request) | {
        "title": _("Failed jobs by cause"),
        "lines": list(_lines(found[:MOST_CAUSES], may)),
        "most": MOST_CAUSES if len(found) > MOST_CAUSES else None,
        "may_move": bool(may),
        "may_retry": RETRY_WORDING in may,
    }
    return TemplateResponse(request, "admin/django_delayed/delayedjob/causes.html", context)


def _lines(causes: list[stats.Cause], may: list[Wording]) -> Iterator[CauseLine]:
    newest: dict[int, Any] = all_rows().only(*SHOWN).in_bulk([cause.newest for cause in causes])
    for cause in causes:
        # It may have been retried and performed since the causes were read.
        if row := newest.get(cause.newest):
            yield CauseLine(
                cause,
                CauseFilter.query_for(cause.fingerprint),
                row.name,
                error_line(row) or _("unknown"),
                innermost_frame_in(row.last_error),
                ago(cause.first),
                ago(cause.last),
                [(f"{wording.name}_cause", wording.button % {"count": cause.jobs}) for wording in may],
            )
