"""The page of what operators have done, read from the entries in the admin's log."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from django.contrib.admin.models import LogEntry
from django.contrib.admin.views.main import SEARCH_VAR
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..models import DelayedJob, FailureGroup, PausedQueue, Schedule, Verb, WorkerProcess
from .display import ago
from .filters import CauseFilter, QueueFilter, StateFilter
from .log import NOT_COMPLETED
from .paginator import CappedPaginator
from .readonly import may_view
from .wording import ON_PAGE

if TYPE_CHECKING:
    from .queues import PausedQueueAdmin

ENTRIES_A_PAGE = 50
MODELS = (DelayedJob, FailureGroup, PausedQueue, Schedule, WorkerProcess)
VERBS: dict[str, Any] = {
    **{wording.name: wording.verb for wording in ON_PAGE},
    "note": gettext_lazy("Note"),
    "pause": gettext_lazy("Pause"),
    "resume": gettext_lazy("Resume"),
    Verb.QUIET.value: gettext_lazy("Quiet"),
    Verb.STOP.value: gettext_lazy("Stop"),
}
FILTERS: dict[str, Any] = {
    SEARCH_VAR: gettext_lazy("search"),
    **{filter.parameter_name: filter.title for filter in (StateFilter, QueueFilter, CauseFilter)},
}
# As `Operation.report` and `log` write it.
SAID = re.compile(
    rf"(?P<verb>\w+)(: (?P<result>{NOT_COMPLETED}|\d+ of \d+)(?P<how>.*?)"
    r"( where (?P<where>.*) as of (?P<until>\S+ \S+?))?)?(: (?P<rest>.*))?",
    re.DOTALL,
)
# A note and the name of a queue may read like a result.
NAMED = re.compile(r"(?P<verb>\w+)(: (?P<rest>.*))?", re.DOTALL)
ABOUT_ONE = (FailureGroup, PausedQueue)
OF_RANGE = re.compile(r"(?P<field>\w+)__range__(?P<bound>gte|lte)_[01]")


class Line(NamedTuple):
    """An entry as the page shows it."""

    when: str | None
    who: str
    verb: str
    many: str
    which: str
    more: str


def page(queue_admin: PausedQueueAdmin, request: HttpRequest) -> TemplateResponse:
    """The newest operations first, on those models that this user may view on this site."""
    seen = [model for model in MODELS if may_view(queue_admin.admin_site, model, request)]
    types = ContentType.objects.get_for_models(*seen).values()
    entries = LogEntry.objects.filter(content_type__in=list(types)).select_related("user").order_by("-pk")
    shown = CappedPaginator(entries, ENTRIES_A_PAGE).get_page(request.GET.get("p"))
    context = queue_admin.page_context(request) | {
        "title": _("Operations"),
        "lines": [_line(entry) for entry in shown.object_list],
        "shown": shown,
    }
    return TemplateResponse(request, "admin/django_delayed/pausedqueue/operations.html", context)


def _line(entry: LogEntry) -> Line:
    when, who, message = ago(entry.action_time), entry.user.get_username(), entry.get_change_message()
    model: Any = ContentType.objects.get_for_id(entry.content_type_id or 0).model_class()
    found = (NAMED if model in ABOUT_ONE else SAID).fullmatch(message)
    if found is None or found["verb"] not in VERBS:
        # Django words the entry of a schedule itself.
        return Line(when, who, entry.get_action_flag_display(), "", entry.object_repr, message)
    said: dict[str, Any] = {"result": None, "how": None, "where": None, **found.groupdict()}
    # An entry about several rows names none of them.
    which = in_words(said["where"]) if said["where"] else entry.object_repr if entry.object_id else ""
    result = said["result"] or ""
    many = _("not completed") if result == NOT_COMPLETED else result.replace(" of ", " / ")
    more = f"{said['how'] or ''} {said['rest'] or ''}".strip(", ")
    return Line(when, who, VERBS[said["verb"]], many, which, more)


def in_words(where: str) -> str:
    """The filter of a list, as an operation notes it, in words: "state: failed, failed at ≥ 2026-01-01"."""
    return ", ".join(map(_filter_in_words, where.split(" and ")))


def _filter_in_words(text: str) -> str:
    name, equals, value = text.partition("=")
    if text == "all":
        return _("all")
    if equals and name in FILTERS:
        return f"{FILTERS[name]}: {value}"
    if equals and (found := OF_RANGE.fullmatch(name)):
        field: Any = DelayedJob._meta.get_field(found["field"])
        return f"{field.verbose_name} {'≥' if found['bound'] == 'gte' else '≤'} {value}"
    return text
