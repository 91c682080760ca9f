"""The list of delayed jobs as Django's admin fetches it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.http import HttpRequest

from ..conf import settings
from ..models import WorkerProcess
from ..states import State
from .columns import WIDE
from .filters import state_in
from .reading import read_rows, unreadable_text


class JobList(ChangeList):
    """The list without the wide columns, read by ids that come from an index alone."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        rows = super().get_queryset(request, exclude_parameters)
        # Such a search is refused with a message, but Django would then list every row.
        if "\0" in request.GET.get(SEARCH_VAR, ""):
            return rows.none()
        of_running = state_in(request) == State.RUNNING
        return rows.select_related("said").defer(*WIDE) if of_running else rows.defer(*WIDE)

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        page: Any = self.result_list
        # MariaDB would read every row that it passes over on the way to these.
        ids = list(page.values_list("pk", flat=True))
        self.result_list, unreadable = read_rows(self.queryset, ids)
        if unreadable:
            messages.error(request, unreadable_text(unreadable))
        self._tell(state_in(request))

    def _tell(self, state: State | None) -> None:
        """Tell each row which state the list is about, and a running one by which worker it is performed."""
        shown: Any = self.result_list
        workers: dict[str, WorkerProcess] = {}
        if state == State.RUNNING:
            running = WorkerProcess.objects.using(settings.DATABASE)
            workers = running.only("name", "hostname", "pid").in_bulk({row.locked_by for row in shown})
        for row in shown:
            row.list_state, row.worker = state, workers.get(row.locked_by)
