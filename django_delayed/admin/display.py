"""States, moments and texts as HTML for the admin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import format_html
from django.utils.timesince import timesince, timeuntil
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import stats
from ..features.progress.shown import show
from ..models import DelayedJob, Progress
from ..states import State

MINUTE = timedelta(minutes=1)
# Characters of a payload or a result that a page shows.
TEXT_LIMIT = 100_000


def chip(state: State) -> str:
    """The state as a coloured word."""
    return badge(state.label, state.value)


def error_line(row: DelayedJob) -> str:
    """The class and the message of the last error; "" if there was none."""
    return f"{row.error_class}: {row.error_message}" if row.error_message else row.error_class


def ago(moment: datetime | None) -> str | None:
    """ "3 hours ago", "in 5 minutes", with the exact time as its title. None for None."""
    if moment is None:
        return None
    distance = moment - timezone.now() if timezone.is_aware(moment) else moment - datetime.now()
    if abs(distance) < MINUTE:
        words = _("just now") if distance <= timedelta(0) else _("in less than a minute")
    elif distance > timedelta(0):
        words = _("in %(time)s") % {"time": timeuntil(moment, depth=1)}
    else:
        words = _("%(time)s ago") % {"time": timesince(moment, depth=1)}
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), exact(moment), words)


def exact(moment: datetime | None) -> str | None:
    """The moment to the second, in the current time zone and with its name. None for None."""
    if moment is None:
        return None
    local = in_current_zone(moment)
    return f"{date_format(local, 'DATE_FORMAT')}, {local:%H:%M:%S} {local.tzname() or ''}".rstrip()


def in_current_zone(moment: datetime) -> datetime:
    """The moment in the current time zone; in UTC where that zone has no such date, as after 9999."""
    if timezone.is_naive(moment):
        return moment
    try:
        return timezone.localtime(moment)
    except OverflowError:
        return moment.astimezone(UTC)


def badge(word: Any, kind: str) -> str:
    """A coloured word; `kind` says in which colour."""
    return format_html('<span class="delayed-state delayed-{}">{}</span>', kind, word)


def count_text(number: int) -> str:
    """A number of `stats.capped_counts` as text; "10000+" if there are more."""
    return f"{stats.MOST_COUNTED}+" if number > stats.MOST_COUNTED else str(number)


def duration_text(span: timedelta) -> str:
    """ "5 seconds", "2 hours"; "" for none."""
    if not span:
        return ""
    if span < MINUTE:
        return ngettext("%(count)d second", "%(count)d seconds", span.seconds) % {"count": span.seconds}
    return timesince(timezone.now() - span, depth=1)


def progress_bar(row: DelayedJob, progress: Progress | None) -> str:
    """How far the job is, as a bar, in numbers and with its note; "" without any progress."""
    if progress is None:
        return ""
    shown = show(row, progress)
    value = format_html(' value="{}"', shown.value) if shown.value else ""
    return format_html(
        '<span class="delayed-bar"><progress max="1"{} aria-label="{}">{}</progress> {} <bdi>{}</bdi></span>',
        *(value, _("Progress"), shown.amount, shown.amount, shown.note),
    )


def span_text(seconds: float) -> str:
    """The seconds in a unit that fits: "4 ms", "2.5 s", "3 minutes"."""
    if seconds < 1:
        return _("%(number)s ms") % {"number": number_format(round(seconds * 1000))}
    if seconds < MINUTE.total_seconds():
        return _("%(number)s s") % {"number": number_format(round(seconds, 1), decimal_pos=1)}
    now = timezone.now()
    return timesince(now - timedelta(seconds=seconds), now, depth=2)


def preformatted(text: str) -> str:
    """The text line by line; only its start if it is very long."""
    left = len(text) - TEXT_LIMIT
    if left > 0:
        more = ngettext("… and %(left)d more character", "… and %(left)d more characters", left)
        text = f"{text[:TEXT_LIMIT]}\n{more % {'left': left}}"
    return format_html('<pre class="delayed-text" tabindex="0">{}</pre>', text)
