"""A cause as the pages show it: its error, how many of its jobs failed and when, whether it is new."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.utils.translation import gettext as _

from .. import stats
from ..models import FailureGroup
from ..serialization.errors import cut
from ..serialization.frames import application_frames_in, innermost_frame_in
from ..states import State
from .display import ago, badge, error_line, preformatted
from .filters import CauseFilter, MomentRangeFilter, StateFilter
from .trend import trend
from .wording import Wording

# The columns that are read of the newest job of a cause.
SHOWN = ("name", "error_class", "error_message", "error_fingerprint", "last_error")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Line(NamedTuple):
    """A cause as a page shows it; name, error, frame and texts come from its newest job.

    `counts` are the numbers of failed jobs, in all and in the last hour, day and week, each with the query of
    the list that has these jobs. `error_texts` are the error with the frames of the application, and with all
    frames if there are more.
    """

    query: str
    name: str
    error: str
    frame: str
    badge: str
    queues: Collection[str]
    counts: list[tuple[int, str]]
    trend: str
    first: str | None
    last: str | None
    retrying: int
    retrying_query: str
    error_texts: list[str]
    moves: list[tuple[str, str]]


def line_of(
    cause: stats.Cause | None,
    row: Any,
    group: FailureGroup | None,
    moves: Collection[Wording],
    retrying: stats.RetryingCause | None = None,
    limit: int | None = None,
) -> Line:
    """What a page says about a cause, or about jobs that are only retrying; `row` is the newest of them."""
    fingerprint = row.error_fingerprint
    query = CauseFilter.query_for(fingerprint)
    return Line(
        query=query,
        name=row.name,
        error=error_line(row) or _("unknown"),
        frame=innermost_frame_in(row.last_error),
        badge=badge_of(cause, group),
        queues=cause.queues if cause else retrying.queues if retrying else (),
        counts=_counts(cause) if cause else [],
        trend=trend(cause.days, _("Failed jobs a day, up to now")) if cause else "",
        first=ago(first_seen(cause, group)),
        last=ago(cause.last) if cause else None,
        retrying=retrying.jobs if retrying else 0,
        retrying_query=f"{query}&{urlencode({StateFilter.parameter_name: State.RETRYING.value})}",
        error_texts=_error_texts(row.last_error, limit),
        moves=[(each.name, each.button % {"count": cause.jobs}) for each in moves] if cause else [],
    )


def first_seen(cause: stats.Cause | None, group: FailureGroup | None) -> datetime | None:
    """When the first job failed for this cause, jobs that were moved since included; None if unknown."""
    moments = (cause and cause.first, group and group.first_seen_at)
    return min((moment for moment in moments if moment), default=None)


def badge_of(cause: stats.Cause | None, group: FailureGroup | None) -> str:
    """Whether the cause is new, or back again, as a coloured word; "" if neither."""
    if cause is None:
        return ""
    if group and group.is_back(cause.last):
        return badge(_("back again"), "back")
    first = first_seen(cause, group)
    return badge(_("new"), "new") if first and first > cause.now - DAY else ""


def _error_texts(text: str, limit: int | None) -> list[str]:
    """The text of an error with the application's frames, and with all frames if there are more."""
    texts = dict.fromkeys([application_frames_in(text), text]) if text else {}
    return [preformatted(cut(each, limit) if limit else each) for each in texts]


def _counts(cause: stats.Cause) -> list[tuple[int, str]]:
    """In all, and in the last hour, day and week."""
    query = CauseFilter.query_for(cause.fingerprint)
    numbers = [(cause.hour, HOUR), (cause.days[-1], DAY), (sum(cause.days), 7 * DAY)]
    return [
        (cause.jobs, query),
        *(
            (number, f"{query}&{urlencode(MomentRangeFilter.since('failed_at', cause.now - age))}")
            for number, age in numbers
        ),
    ]
