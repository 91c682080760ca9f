"""States, moments and texts as HTML for the admin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.timesince import timesince, timeuntil
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..models import DelayedJob
from ..states import State

MINUTE = timedelta(minutes=1)
# Characters of a payload or a result that a page shows.
TEXT_LIMIT = 100_000


def chip(state: State) -> str:
    """The state as a coloured word."""
    return format_html('<span class="delayed-state delayed-{}">{}</span>', state.value, state.label)


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
    local = _local(moment)
    return f"{date_format(local, 'DATE_FORMAT')}, {local:%H:%M:%S} {local.tzname() or ''}".rstrip()


def _local(moment: datetime) -> datetime:
    """The moment in the current time zone; in UTC where that zone has no such date, as after 9999."""
    if timezone.is_naive(moment):
        return moment
    try:
        return timezone.localtime(moment)
    except OverflowError:
        return moment.astimezone(UTC)


def preformatted(text: str) -> str:
    """The text line by line; only its start if it is very long."""
    left = len(text) - TEXT_LIMIT
    if left > 0:
        more = ngettext("… and %(left)d more character", "… and %(left)d more characters", left)
        text = f"{text[:TEXT_LIMIT]}\n{more % {'left': left}}"
    return format_html('<pre class="delayed-text" tabindex="0">{}</pre>', text)
