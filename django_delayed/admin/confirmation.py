"""The question before jobs are moved, the move once it is answered, and the message afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_aware
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import stats
from ..databases import DatabaseNow
from ..models import DelayedJob, all_rows
from ..operations import MOST_ROWS
from ..states import DelayedJobQuerySet, State
from .columns import WIDE
from .display import chip, error_line
from .log import Move, begin_entry, complete_entry
from .reading import read_rows
from .wording import Wording

SAMPLES = 5  # of each state
MOST_MINUTES = 7 * 24 * 60
# Of the admin's list: page, order, show all, error.
NOT_FILTERS = {"p", "o", "all", "e"}


class SpreadForm(forms.Form):
    """The time over which the moved jobs fall due, in minutes."""

    spread = forms.IntegerField(
        label=gettext_lazy("Spread over minutes"),
        help_text=gettext_lazy("The first jobs are due at once, the last ones after this time."),
        min_value=0,
        max_value=MOST_MINUTES,
        initial=0,
        required=False,
    )

    @property
    def span(self) -> timedelta:
        """The time that was typed; 0 if the form did not ask for one."""
        return timedelta(minutes=(self.is_valid() and self.cleaned_data["spread"]) or 0)


class Sample(NamedTuple):
    """A row as an example: its name and id, and its last error in one line."""

    row: str
    error: str


class Confirmation:
    """One operation on the rows that an operator chose: by hand, or all that a filter finds (`across`).

    `filters` names that filter; without it, the filter is read from the request. `state` is the state of all
    rows, if it is known.
    """

    def __init__(
        self,
        request: HttpRequest,
        wording: Wording,
        rows: DelayedJobQuerySet,
        filters: str | None = None,
        state: State | None = None,
    ) -> None:
        self.request = request
        self.wording = wording
        self.chosen = request.POST.getlist(ACTION_CHECKBOX_NAME)
        in_list = forms.BooleanField(required=False).clean(request.POST.get("select_across"))
        self.across = bool(in_list) or filters is not None
        self.filters = _filters_in(request) if filters is None else filters
        self.until = _moment(request.POST.get("as_of", "")) if self.across else None
        self.rows = rows
        self.state = state or wording.operation.state
        self.answered = request.method == "POST" and "confirmed" in request.POST
        was_asked = self.answered and wording.operation.can_spread
        self.form = SpreadForm(request.POST if was_asked else None)

    @property
    def is_given(self) -> bool:
        """Whether the operator has seen the page and said yes."""
        is_complete = self.until is not None or not self.across
        return self.answered and is_complete and not self.form.errors

    def make_moves(self, row: DelayedJob | None = None, keep_for: timedelta | None = None) -> None:
        """Make the moves, log them, and tell the operator how many were made."""
        operation, user = self.wording.operation, self.request.user
        ids = operation.ids(self.rows, MOST_ROWS, self.until)
        where = f"{self.filters or 'all'} as of {self.until}" if self.until else ""
        move = Move(self.wording, user, ids, where, self.form.span, row)
        entry = begin_entry(move)
        moved = operation.carry_out(ids, by=user.get_username(), keep_for=keep_for, spread=move.spread)
        complete_entry(entry, move, moved)
        skipped = max(self._expected() - moved, 0)
        # Counted among these ids only: nobody knows why the other rows are not among them.
        equal = operation.left_out(ids) if moved < len(ids) else 0
        text = self.wording.result(moved, skipped - equal, equal)
        messages.add_message(self.request, messages.WARNING if skipped else messages.SUCCESS, text)

    def page(self, context: dict[str, Any], back: str) -> TemplateResponse | None:
        """The question: what would happen, and to how many. None if no row may be moved."""
        allowed = self.wording.operation.allowed(self.rows).annotate(now=DatabaseNow())
        found = list(allowed.values_list("pk", "now")[: MOST_ROWS + 1])
        if not found:
            messages.warning(self.request, self.wording.refused)
            return None
        ids = [pk for pk, _ in found[:MOST_ROWS]]
        until = found[0][1]
        count = len(ids)
        context |= {
            "title": self.wording.question % {"count": count},
            "wording": self.wording,
            "button": self.wording.button % {"count": count},
            "count": count,
            "has_more": len(found) > MOST_ROWS,
            "skipped": 0 if self.across else max(len(set(self.chosen)) - count, 0),
            "across": self.across,
            "filters": self.filters if self.across else "",
            "groups": list(self._groups(ids)),
            "form": self.form if self.wording.operation.can_spread and count > 1 else None,
            "hidden": list(self._hidden(count, until)),
            "back": back,
        }
        return TemplateResponse(self.request, "admin/django_delayed/delayedjob/confirmation.html", context)

    def _groups(self, ids: list[int]) -> Iterator[tuple[str, int, list[Sample]]]:
        """Each state as a coloured word, how many of the rows are in it, and some of them."""
        # The states are read only if they are not known: that reads every row.
        groups = {self.state: ids} if self.state else stats.ids_by_state(ids)
        some = [pk for found in groups.values() for pk in found[:SAMPLES]]
        rows, unreadable = read_rows(all_rows().defer(*WIDE), some)
        samples = {row.pk: Sample(str(row), error_line(row)) for row in rows}
        samples |= {pk: Sample(f"#{pk}", _("It has a value that cannot be read.")) for pk in unreadable}
        for state, found in groups.items():
            yield chip(state), len(found), [samples[pk] for pk in found[:SAMPLES] if pk in samples]

    def _hidden(self, count: int, until: datetime) -> Iterable[tuple[str, Any]]:
        yield "confirmed", "yes"
        if self.across:
            yield from {"select_across": "1", "as_of": until.isoformat(), "expected": str(count)}.items()
        if self.chosen:
            yield "action", self.wording.name
        # The admin ignores an action without a selected row.
        for pk in self.chosen[:1] if self.across else self.chosen:
            yield ACTION_CHECKBOX_NAME, pk

    def _expected(self) -> int:
        if not self.across:
            return len(set(self.chosen)) or 1
        number = self.request.POST.get("expected", "")
        return int(number) if number.isascii() and number.isdecimal() else 0


def _filters_in(request: HttpRequest) -> str:
    return " and ".join(
        f"{name}={value}" for name, value in request.GET.items() if value and name not in NOT_FILTERS
    )


def _moment(text: str) -> datetime | None:
    """The moment in an answer; None for a value that our page would not have sent."""
    try:
        moment = parse_datetime(text)
    except ValueError:
        return None
    plausible = moment is not None and 1 < moment.year < 9999 and is_aware(moment) == settings.USE_TZ
    return moment if plausible else None
