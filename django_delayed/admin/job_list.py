"""How Django's admin reads the list of delayed jobs: in which order, and which rows it looks at."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.db.models import F
from django.http import HttpRequest

from .. import stats
from ..conf import settings
from ..models import WorkerProcess
from ..states import State
from .columns import WIDE
from .filters import CauseFilter, QueueFilter, StateFilter, state_in
from .reading import id_in, read_rows, unreadable_text

# The filters on columns that the index of each order has beside the state: they need nothing but that index.
NEXT_FIRST, LAST_FAILED, NEWEST = ("priority", "run_at", "id"), ("-failed_at", "-id"), ("-id",)
WAITING = (QueueFilter.parameter_name, "run_at")
IN_INDEX: dict[State | None, tuple[str, ...]] = {
    State.SCHEDULED: WAITING,
    State.ENQUEUED: WAITING,
    State.FAILED: (QueueFilter.parameter_name, CauseFilter.parameter_name, "failed_at"),
}

# The indexes of these states lack the order of the list: in that order, MariaDB could read the whole table.
BY_ID = (State.RETRYING, State.RUNNING)


def order_of(request: HttpRequest) -> tuple[str, ...]:
    """The order of the list, which is always that of an index: sorting a large table takes seconds."""
    state, of_one_queue = _listed_state(request), bool(request.GET.get(QueueFilter.parameter_name))
    if state is None and of_one_queue:
        # In the order of ids, PostgreSQL could read the whole table to find the rows of the queue.
        return ("-created_at", "-id")
    return _order_in(state, of_one_queue)


def search(rows: Any, text: str) -> Any:
    """The rows that have this id, are about this object, or have a name that begins with this text."""
    if not (term := _term(text)):
        return rows
    if term.isdecimal():
        return rows.filter(pk__in=[pk for pk in [id_in(term)] if pk])
    # One of the two: an OR of both would not use the index of `about`.
    return rows.filter(**{"about": term} if ":" in term else {"name__startswith": term})


class JobList(ChangeList):
    """The list without the wide columns, read by ids that come from an index alone.

    What no index has, such as the name, is looked for among the first MOST_COUNTED rows of the list;
    `is_cut` says whether the list has more. Without a state, a queue is looked for among the first rows of
    each state.
    """

    found: Any
    is_cut = False
    most_searched = stats.MOST_COUNTED

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        rows = super().get_queryset(request, exclude_parameters)
        # Django refuses such a search with a message, and would then list every row.
        rows = rows.none() if "\0" in request.GET.get(SEARCH_VAR, "") else rows.defer(*WIDE)
        self.found = rows.select_related("said") if state_in(request) == State.RUNNING else rows
        return self._among_the_first(request, self.found)

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        page: Any = self.result_list
        # Ids first: for whole rows, MariaDB would read every row of the pages before this one too.
        ids = list(page.values_list("pk", flat=True))
        self.result_list, unreadable = read_rows(self.found, ids)
        if unreadable:
            messages.error(request, unreadable_text(unreadable))
        self._tell(state_in(request))

    def _among_the_first(self, request: HttpRequest, rows: Any) -> Any:
        """The rows; only those among the first of the list if a filter needs more than an index."""
        chosen = {_name_of(spec): spec for spec in self.filter_specs if _is_chosen(spec, request)}
        if any(getattr(spec, "problems", ()) for spec in chosen.values()) or _is_by_index(self.query):
            return rows
        state = _listed_state(request)
        in_index = {StateFilter.parameter_name, *IN_INDEX.get(state, ())}
        is_search = bool(self.query.strip() or set(chosen) - in_index)
        if not is_search and state not in BY_ID:
            return rows
        firsts = self._firsts(request, state, chosen)
        if is_search:
            most = stats.MOST_COUNTED // len(firsts)
            self.is_cut = any(count > most for count in stats.capped_counts(firsts))
        # What an operator has chosen may not be among the first any more.
        if picked := [pk for text in request.POST.getlist(ACTION_CHECKBOX_NAME) if (pk := id_in(text))]:
            firsts.append(self.root_queryset.filter(pk__in=picked))
        return rows.filter(pk__in=stats.first_ids(firsts))

    def _firsts(self, request: HttpRequest, state: State | None, chosen: dict[str, Any]) -> list[Any]:
        """The rows to look at: those of the state, or of each state for a queue."""
        if state or QueueFilter.parameter_name not in chosen:
            return [self._first(request, state, chosen)]
        return [self._first(request, each, chosen) for each in State]

    def _first(self, request: HttpRequest, state: State | None, chosen: dict[str, Any]) -> Any:
        """The rows in this state that the filters in its index find, in the order of the index."""
        rows: Any = self.root_queryset
        if state is not None:
            rows = rows.in_state(state)
        found = [name for name in IN_INDEX.get(state, ()) if name in chosen]
        for name in found:
            rows = chosen[name].queryset(request, rows)
        if state == State.RUNNING:
            # They are few, so they may be sorted. By the primary key, SQLite would read all others, too.
            return rows.order_by((F("id") + 0).desc())
        if state == State.RETRYING:
            return stats.newest_first(rows)
        return rows.order_by(*_order_in(state, QueueFilter.parameter_name in found))

    def _tell(self, state: State | None) -> None:
        """Tell each row which state the list is about, and a running one which worker performs it."""
        shown: Any = self.result_list
        workers: dict[str, WorkerProcess] = {}
        if state == State.RUNNING:
            running = WorkerProcess.objects.using(settings.DATABASE)
            workers = running.only("name", "hostname", "pid").in_bulk({row.locked_by for row in shown})
        for row in shown:
            row.list_state, row.worker = state, workers.get(row.locked_by)


def _listed_state(request: HttpRequest) -> State | None:
    """The state that gives the list its index. A filter by the time of a failure finds failed jobs only."""
    failed_at = any(value for name, value in request.GET.items() if name.startswith("failed_at__"))
    return state_in(request) or (State.FAILED if failed_at else None)


def _order_in(state: State | None, of_one_queue: bool) -> tuple[str, ...]:
    if state in (State.SCHEDULED, State.ENQUEUED):
        # With the queue in the order, MariaDB would sort the rows of a single queue again.
        return NEXT_FIRST if of_one_queue else ("queue", *NEXT_FIRST)
    # Without the id: PostgreSQL would sort all rows that finished at the same time.
    if state == State.FINISHED:
        return ("-finished_at",)
    return LAST_FAILED if state == State.FAILED else NEWEST


def _name_of(spec: Any) -> str:
    return getattr(spec, "parameter_name", None) or spec.field_path


def _is_chosen(spec: Any, request: HttpRequest) -> bool:
    return any(request.GET.get(name) for name in spec.expected_parameters())


def _term(text: str) -> str:
    return text.strip().removeprefix("#")


def _is_by_index(text: str) -> bool:
    term = _term(text)
    return term.isdecimal() or ":" in term
