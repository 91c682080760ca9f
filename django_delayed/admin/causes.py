"""The list of causes: failed jobs by the fingerprint of their error, with what can be done about each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from .. import stats
from ..models import all_groups, all_rows
from ..states import CANCELLED
from .cause_lines import SHOWN, Line, line_of
from .wording import DISCARD_WORDING, RETRY_WORDING, Wording

if TYPE_CHECKING:
    from .failure_groups import FailureGroupAdmin

MOST_CAUSES = 50
# Bytes of a traceback in the list, which may have a hundred of them.
TRACEBACK_LIMIT = 4000


class Column(NamedTuple):
    """A column that the causes can be sorted by: its heading, the query that sorts, whether it is in use."""

    name: str
    heading: str
    query: str
    is_first: bool


def page(group_admin: FailureGroupAdmin, request: HttpRequest) -> TemplateResponse:
    """The causes with the most failed jobs, or those that another column puts first."""
    by = request.GET.get("by", "")
    by = by if by in stats.SORTED_BY else "jobs"
    found = stats.causes(MOST_CAUSES + 1, by)
    retrying = stats.retrying_causes() if (with_retrying := "retrying" in request.GET) else {}
    jobs_retrying = sum(found.jobs for found in retrying.values())
    moves = may_make(group_admin, request)
    context = group_admin.page_context(request) | {
        "title": _("Failed jobs by cause"),
        "lines": list(_lines(found[:MOST_CAUSES], retrying, moves)),
        "most": MOST_CAUSES if len(found) > MOST_CAUSES else None,
        "columns": list(_columns(by, with_retrying)),
        "with_retrying": with_retrying,
        "most_retrying": stats.MOST_RETRYING if jobs_retrying >= stats.MOST_RETRYING else None,
        "other_view": urlencode({"by": by} | ({} if with_retrying else {"retrying": "too"})),
        "may_move": bool(moves),
        "may_retry": RETRY_WORDING in moves,
    }
    return TemplateResponse(request, "admin/django_delayed/failuregroup/causes.html", context)


def may_make(group_admin: FailureGroupAdmin, request: HttpRequest) -> list[Wording]:
    """The moves that this user may make with the jobs of a cause."""
    return [wording for wording in (RETRY_WORDING, DISCARD_WORDING) if group_admin.may(request, wording)]


def _lines(
    causes: list[stats.Cause], retrying: dict[str, stats.RetryingCause], moves: list[Wording]
) -> Iterator[Line]:
    failed = {cause.fingerprint: cause for cause in causes}
    # Only an operator retries a job that an operator has ended.
    others = {key: found for key, found in retrying.items() if key not in failed and key != CANCELLED}
    first = sorted(others, key=lambda key: -others[key].jobs)[:MOST_CAUSES]
    newest = {key: cause.newest for key, cause in failed.items()} | {key: others[key].newest for key in first}
    rows: dict[int, Any] = all_rows().only(*SHOWN).in_bulk([*newest.values()])
    groups = all_groups().in_bulk([*failed])
    for key, pk in newest.items():
        # The job may have been retried and performed since the causes were read.
        if row := rows.get(pk):
            yield line_of(failed.get(key), row, groups.get(key), moves, retrying.get(key), TRACEBACK_LIMIT)


def _columns(by: str, with_retrying: bool) -> Iterator[Column]:
    headings = {"jobs": _("Failed jobs"), "hour": _("1 hour"), "first": _("First"), "last": _("Last")}
    for name, heading in headings.items():
        query = urlencode({"by": name} | ({"retrying": "too"} if with_retrying else {}))
        yield Column(name, heading, query, name == by)
