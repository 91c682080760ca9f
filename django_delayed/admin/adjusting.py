"""The page on which an operator changes when a waiting job runs, in which queue and with which priority."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..conf import INTEGERS
from ..models import DelayedJob
from ..operations import ADJUST
from ..options import check_columns
from .display import in_current_zone
from .log import Move, begin_entry, complete_entry
from .operating import refuse_who_may_not
from .wording import ADJUST_WORDING

if TYPE_CHECKING:
    from .delayed_jobs import DelayedJobAdmin

COLUMNS = ("run_at", "queue", "priority")
LONGEST_MOMENT = 40
# The format in which a browser fills and sends a datetime-local input.
MOMENT = "%Y-%m-%dT%H:%M:%S"


class MomentField(forms.DateTimeField):
    """A moment in the current time zone; `shown` is the initial one.

    An unchanged text gives `shown` and is not parsed: when clocks go back, the same hour comes twice.
    """

    shown: Any = None

    def to_python(self, value: Any) -> Any:
        text = str(value)[:LONGEST_MOMENT]
        try:
            stays = parse_datetime(text) == _as_shown(self.shown)
        except ValueError:
            stays = False
        return self.shown if stays else super().to_python(text)


class AdjustForm(forms.Form):
    """The form that changes a waiting job; `seen` says how the job was when the form was shown."""

    run_at = MomentField(
        label=gettext_lazy("Run at"),
        widget=forms.DateTimeInput({"type": "datetime-local", "step": 1}, format=MOMENT),
    )
    queue = forms.CharField(label=gettext_lazy("Queue"), max_length=255, strip=False)
    priority = forms.IntegerField(
        label=gettext_lazy("Priority"),
        min_value=INTEGERS[0],
        max_value=INTEGERS[-1],
        help_text=gettext_lazy("Lower runs first."),
    )
    seen = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, row: DelayedJob, data: Any = None) -> None:
        initial = {name: getattr(row, name) for name in COLUMNS}
        shown = {"run_at": _as_shown(row.run_at), "seen": seen_text(row)}
        super().__init__(data, initial=initial | shown)
        self.row = row
        run_at: Any = self.fields["run_at"]
        run_at.shown = row.run_at
        run_at.help_text = _("In the time zone %(zone)s.") % {"zone": timezone.get_current_timezone_name()}

    def clean_run_at(self) -> Any:
        moment = self.cleaned_data["run_at"]
        if moment != self.row.run_at and moment < timezone.now():
            raise forms.ValidationError(_("This time has passed. To run the job at once, use “Run now”."))
        return self._clean_column("run_at")

    def clean_queue(self) -> Any:
        return self._clean_column("queue")

    def clean(self) -> dict[str, Any]:
        if not self.errors and not self.changes:
            raise forms.ValidationError(_("Change the time, the queue or the priority."))
        return self.cleaned_data

    @property
    def changes(self) -> dict[str, Any]:
        """The columns that get other values."""
        values = {name: self.cleaned_data[name] for name in COLUMNS}
        return {name: value for name, value in values.items() if value != getattr(self.row, name)}

    @property
    def words(self) -> str:
        """The changes as the entry in the admin's log words them."""
        pairs = {name: (getattr(self.row, name), value) for name, value in self.changes.items()}
        return ", ".join(f"{name}: {_logged(old)} → {_logged(new)}" for name, (old, new) in pairs.items())

    def _clean_column(self, name: str) -> Any:
        value = self.cleaned_data[name]
        if value == getattr(self.row, name):
            # The job may have a value that no enqueue accepts; the operator need not change it.
            return value
        try:
            return check_columns(**{name: value})[name]
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None


def seen_text(row: DelayedJob) -> str:
    """The values that the operator decides by, as a text; it differs when the row has changed."""
    return " ".join(repr(getattr(row, name)) for name in (*COLUMNS, "attempts"))


def _logged(value: Any) -> str:
    is_aware = isinstance(value, datetime) and timezone.is_aware(value)
    return str(value.astimezone(UTC) if is_aware else value)


def _as_shown(moment: Any) -> Any:
    """The moment to the second and without its zone; None for a column that has no moment."""
    return moment and in_current_zone(moment).replace(tzinfo=None, microsecond=0)


def adjust_one(model_admin: DelayedJobAdmin, request: HttpRequest, object_id: str) -> HttpResponse:
    """Show the form of one job, or change the job as the form says and redirect to its page."""
    row = model_admin.get_object(request, object_id)
    refuse_who_may_not(model_admin, request, ADJUST_WORDING, row)
    if row is None:
        return model_admin.redirect_from_gone(request, object_id)
    back = model_admin.url(request, "change", row.pk)
    if not ADJUST.allowed(model_admin.rows(request).filter(pk=row.pk)).exists():
        messages.warning(request, ADJUST_WORDING.refused)
        return HttpResponseRedirect(back)
    is_as_seen = request.POST.get("seen") == seen_text(row)
    if request.method == "POST" and not is_as_seen:
        messages.error(request, _("The job has changed meanwhile. This is how it is now."))
    form = AdjustForm(row, request.POST if is_as_seen else None)
    if form.is_valid():
        _change(request, form)
        return HttpResponseRedirect(back)
    return _page(model_admin, request, form, back)


def _change(request: HttpRequest, form: AdjustForm) -> None:
    """Make the change, log it, and tell the operator."""
    row, user = form.row, request.user
    move = Move(ADJUST_WORDING, user, [row.pk], "", timedelta(0), row, form.words)
    entry = begin_entry(move)
    seen = {name: getattr(row, name) for name in COLUMNS}
    moved = ADJUST.carry_out([row.pk], by=user.get_username(), changes=form.changes, seen=seen)
    complete_entry(entry, move, moved)
    level = messages.SUCCESS if moved else messages.WARNING
    messages.add_message(request, level, ADJUST_WORDING.result(moved, 1 - moved, 0))


def _page(
    model_admin: DelayedJobAdmin, request: HttpRequest, form: AdjustForm, back: str
) -> TemplateResponse:
    context = model_admin.page_context(request) | {
        "title": str(form.row),
        "wording": ADJUST_WORDING,
        "button": ADJUST_WORDING.button % {"count": 1},
        "form": form,
        "back": back,
    }
    return TemplateResponse(request, "admin/django_delayed/delayedjob/adjust.html", context)
