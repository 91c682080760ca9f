"""The filters of the list: state, queue, ranges of time. An invalid value finds nothing and says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import QuerySet
from django.forms import BaseForm
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rangefilter.filters import DateTimeRangeFilter

from .. import stats
from ..models import DelayedJob, all_rows
from ..states import State
from .display import error_line, in_current_zone

START_OF_DAY, END_OF_DAY = "00:00:00", "23:59:59.999999"


class StateFilter(admin.SimpleListFilter):
    """Jobs in one state."""

    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(state.value, state.label) for state in State]

    @property
    def problems(self) -> list[str]:
        """What is wrong with the value in the address, as sentences."""
        known = self.value() is None or self.value() in State.values
        return [] if known else [_("There is no state “%(state)s”.") % {"state": self.value()}]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.problems:
            return queryset.none()
        return getattr(queryset, self.value() or "all")()


class QueueFilter(admin.SimpleListFilter):
    """Jobs of one queue. Offers those that are cheap to find; any other name in the address works too."""

    title = gettext_lazy("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        chosen = request.GET.get(self.parameter_name)
        names = {*stats.queues(), chosen} if chosen else set(stats.queues())
        return [(name, name) for name in sorted(names)]

    @property
    def problems(self) -> list[str]:
        """What is wrong with the value in the address, as sentences."""
        return [_("The name of a queue has no NUL in it.")] if "\0" in (self.value() or "") else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.problems:
            return queryset.none()
        return queryset.filter(queue=self.value()) if self.value() else queryset


class CauseFilter(admin.SimpleListFilter):
    """Failed or retrying jobs of one cause. Offers the chosen one only; the page of causes links to each."""

    title = gettext_lazy("cause")
    parameter_name = "cause"
    # Stands for the empty fingerprint, which in an address would be no filter. No error has this fingerprint.
    without = "none"

    @classmethod
    def query_for(cls, fingerprint: str) -> str:
        """The query of an address that finds the failed jobs with this fingerprint."""
        return urlencode({cls.parameter_name: fingerprint or cls.without})

    @classmethod
    def newest(cls, rows: Any, fingerprint: str | None) -> DelayedJob | None:
        """The one of these rows with this fingerprint that failed last."""
        newest_first = cls.rows_of(rows, fingerprint).order_by("-failed_at", "-id")
        # The id comes from the index alone, so only one row is read.
        pk = newest_first.values_list("pk", flat=True).first()
        return rows.filter(pk=pk).first() if pk else None

    @classmethod
    def fingerprint_in(cls, request: HttpRequest) -> str | None:
        """The fingerprint in the address; None if there is none that an error can have."""
        value = request.GET.get(cls.parameter_name, "")
        if not value or "\0" in value:
            return None
        return "" if value == cls.without else value

    @staticmethod
    def rows_of(rows: Any, fingerprint: str | None, state: State = State.FAILED) -> Any:
        """Those of the rows that are in this state and have this fingerprint; none for None."""
        if fingerprint is None:
            return rows.none()
        return rows.in_state(state).filter(error_fingerprint=fingerprint)

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        value = request.GET.get(self.parameter_name)
        if not value:
            return []
        rows = all_rows().only("error_class", "error_message")
        row = self.newest(rows, self.fingerprint_in(request))
        return [(value, (error_line(row) if row else "") or value)]

    @property
    def problems(self) -> list[str]:
        """What is wrong with the value in the address, as sentences."""
        return [_("A cause has no NUL in it.")] if "\0" in (self.value() or "") else []

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if not self.value():
            return queryset
        return self.rows_of(queryset, self.fingerprint_in(request), state_in(request) or State.FAILED)


def state_in(request: HttpRequest) -> State | None:
    """The state of all jobs that the filters in the address find; None if these may find several states."""
    name = request.GET.get(StateFilter.parameter_name)
    if request.GET.get(CauseFilter.parameter_name):
        # Only jobs in these two states have a cause.
        return State.RETRYING if name == State.RETRYING else State.FAILED
    return State(name) if name in State.values else None


class MomentRangeFilter(DateTimeRangeFilter):  # type: ignore[misc]
    """Jobs from one moment to another. A date alone means that whole day; an invalid date finds nothing.

    rangefilter's own filter would ignore both, and a bulk action would then move every job in the table.
    """

    @staticmethod
    def names_for(field: str) -> Iterable[str]:
        """The names of its values in an address."""
        return (f"{field}__range__{bound}_{part}" for bound in ("gte", "lte") for part in "01")

    @classmethod
    def since(cls, field: str, moment: datetime) -> dict[str, str]:
        """The values in an address that find everything from this moment on, to the second."""
        local = in_current_zone(moment)
        return dict(zip(cls.names_for(field), (f"{local:%Y-%m-%d}", f"{local:%H:%M:%S}"), strict=False))

    def get_form(self, request: HttpRequest) -> BaseForm:
        form: BaseForm = super().get_form(request)
        data = dict(self.used_parameters)
        for bound, time in ((self.lookup_kwarg_gte, START_OF_DAY), (self.lookup_kwarg_lte, END_OF_DAY)):
            if data.get(f"{bound}_0") and not data.get(f"{bound}_1"):
                data[f"{bound}_1"] = time
        return type(form)(data or None)

    @property
    def problems(self) -> list[str]:
        """What is wrong with the values in the address, as sentences."""
        if not self.form.is_bound:
            return []
        self._refuse_what_no_database_stores()
        return [f"{self.title}: {error}" for errors in self.form.errors.values() for error in errors]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.none() if self.problems else super().queryset(request, queryset)

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:
        # rangefilter makes the id from the letters a to z in the title; in many languages, a title has none.
        for choice in super().choices(changelist):
            yield choice | {"system_name": self.field_path.replace("_", "-")}

    def _refuse_what_no_database_stores(self) -> None:
        for name, moment in list(self.form.cleaned_data.items()) if self.form.is_valid() else []:
            if moment and not self._fits(moment):
                self.form.add_error(name, _("This date is out of range."))

    def _fits(self, moment: datetime) -> bool:
        # The first hours of the year 1 and the last ones of 9999 may not exist in UTC.
        aware = self.make_dt_aware(moment, self.get_timezone(self.request))
        try:
            return timezone.is_naive(aware) or bool(aware.astimezone(UTC))
        except OverflowError:
            return False
