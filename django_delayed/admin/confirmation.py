"""The question before jobs are moved, the move once it is answered, and the message afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import django
from django.conf import settings
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.forms import BooleanField
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_aware

from ..databases import DatabaseNow
from ..models import DelayedJob
from ..operations import MOST_ROWS, as_of
from ..states import DelayedJobQuerySet
from .display import chip
from .log import begin_entry, complete_entry
from .paginator import capped_count
from .wording import Wording

SAMPLES = 5
# Of the admin's list: page, order, show all, error.
NOT_FILTERS = {"p", "o", "all", "e"}


class Confirmation:
    """One operation on the rows that an operator chose: by hand, or all that a filter finds (`across`)."""

    def __init__(self, request: HttpRequest, wording: Wording, rows: DelayedJobQuerySet) -> None:
        self.request = request
        self.wording = wording
        self.chosen = request.POST.getlist(ACTION_CHECKBOX_NAME)
        self.across = bool(BooleanField(required=False).clean(request.POST.get("select_across")))
        self.filters = " and ".join(
            f"{name}={value}" for name, value in request.GET.items() if value and name not in NOT_FILTERS
        )
        self.until = _moment(request.POST.get("as_of", "")) if self.across else None
        self.rows = as_of(rows, self.until) if self.until else rows

    @property
    def is_given(self) -> bool:
        """Whether the operator has seen the page and said yes."""
        answered = self.request.method == "POST" and "confirmed" in self.request.POST
        return answered and (self.until is not None or not self.across)

    def make_moves(self, row: DelayedJob | None = None) -> None:
        """Make the moves, log them, and tell the operator how many were made."""
        ids = self.wording.operation.ids(self.rows)
        where = f"{self.filters or 'all'} as of {self.until}" if self.until else ""
        entry = begin_entry(self.wording, self.request.user, ids, where, row)
        moved = self.wording.operation.carry_out(ids)
        complete_entry(entry, self.wording, moved, ids, where)
        skipped = max(self._expected() - moved, 0)
        if skipped:
            text = self.wording.partly_done % {"moved": moved, "skipped": skipped}
        else:
            text = self.wording.done % {"moved": moved}
        messages.add_message(self.request, messages.WARNING if skipped else messages.SUCCESS, text)

    def page(self, context: dict[str, Any], back: str) -> TemplateResponse | None:
        """The question: what would happen, and to how many. None if no row may be moved."""
        allowed = self.wording.operation.allowed(self.rows)
        samples = list(allowed.annotate(now=DatabaseNow()).defer("payload", "last_error", "result")[:SAMPLES])
        if not samples:
            messages.warning(self.request, self.wording.refused)
            return None
        until: datetime = samples[0].now  # type: ignore[attr-defined]
        found = capped_count(as_of(allowed, until) if self.across else allowed)
        count = min(found, MOST_ROWS)
        context |= {
            "title": self.wording.question % {"count": count},
            "wording": self.wording,
            "button": self.wording.button % {"count": count},
            "count": count,
            "has_more": found > MOST_ROWS,
            "skipped": 0 if self.across else max(len(set(self.chosen)) - count, 0),
            "filters": self.filters if self.across else "",
            "samples": [(row, chip(row.state)) for row in samples],
            "hidden": list(self._hidden(count, until)),
            "back": back,
            # A list since Django 6.1, whose style sheet expects one.
            "breadcrumbs_are_a_list": django.VERSION >= (6, 1),
        }
        return TemplateResponse(self.request, "admin/django_delayed/delayedjob/confirmation.html", context)

    def _hidden(self, count: int, until: datetime) -> Iterable[tuple[str, Any]]:
        yield "confirmed", "yes"
        if not self.chosen:
            return
        yield "action", self.wording.name
        if self.across:
            yield from {"select_across": "1", "as_of": until.isoformat(), "expected": str(count)}.items()
        # The admin ignores an action without a selected row.
        for pk in self.chosen[:1] if self.across else self.chosen:
            yield ACTION_CHECKBOX_NAME, pk

    def _expected(self) -> int:
        if not self.across:
            return len(set(self.chosen)) or 1
        number = self.request.POST.get("expected", "")
        return int(number) if number.isascii() and number.isdecimal() else 0


def _moment(text: str) -> datetime | None:
    """The moment in an answer; None for a value that our page would not have sent."""
    try:
        moment = parse_datetime(text)
    except ValueError:
        return None
    plausible = moment is not None and 1 < moment.year < 9999 and is_aware(moment) == settings.USE_TZ
    return moment if plausible else None
