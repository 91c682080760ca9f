"""The page of the overview: the queue in numbers, what is wrong in words, and its queues."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from django.core import checks
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from .. import stats
from ..databases import Lane
from ..models import DelayedJob, all_paused
from ..states import State
from .display import ago, count_text, duration_text
from .filters import MomentRangeFilter
from .throughput import performed

if TYPE_CHECKING:
    from .queues import PausedQueueAdmin

MOST_QUEUES = 100
HOUR = timedelta(hours=1)


class Number(NamedTuple):
    """A number with what it counts, and the query of the list that has these jobs."""

    label: Any
    text: str
    query: str | None


class QueueLine(NamedTuple):
    """A queue as the page shows it; each number with the query of its jobs."""

    name: str
    numbers: list[tuple[str, str]]
    oldest: str
    paused: str | None
    paused_by: str


def page(queue_admin: PausedQueueAdmin, request: HttpRequest) -> TemplateResponse:
    """The overview."""
    context = queue_admin.page_context(request) | {"title": _("Overview")} | _shown(queue_admin, request)
    return TemplateResponse(request, "admin/django_delayed/pausedqueue/overview.html", context)


def numbers(queue_admin: PausedQueueAdmin, request: HttpRequest) -> TemplateResponse:
    """The part of the page that changes, without the page around it.

    A whole page would use up messages that are meant for the next page that the operator opens.
    """
    request.current_app = queue_admin.admin_site.name
    context = {"opts": queue_admin.opts} | _shown(queue_admin, request)
    return TemplateResponse(request, "admin/django_delayed/pausedqueue/numbers.html", context)


def _shown(queue_admin: PausedQueueAdmin, request: HttpRequest) -> dict[str, Any]:
    workers, lanes = stats.workers(), stats.lanes()
    queues = stats.queue_numbers(lanes, MOST_QUEUES)
    counted = list(_numbers(workers, queues))
    return {
        "performed": performed(request),
        "jobs": DelayedJob._meta,
        "numbers": counted,
        "problems": [*without_worker(workers, lanes), *_silent(workers), *failing_checks()],
        "queues": list(_lines(queues)),
        "newest": stats.MOST_COUNTED if counted[0].text.endswith("+") else None,
        "most": MOST_QUEUES if len(queues) == MOST_QUEUES else None,
        "may_pause": queue_admin.has_pause_permission(request),
    }


@cache
def failing_checks() -> list[str]:
    """What `manage.py check` says is wrong with the queue; cached, as it stays so while the process runs."""
    found = checks.run_checks()
    return [f"{message.id}: {message.msg}" for message in found if _is_ours(message)]


def _is_ours(message: checks.CheckMessage) -> bool:
    return str(message.id).startswith("django_delayed.") and message.level >= checks.WARNING


def _numbers(workers: Sequence[Any], queues: dict[str, stats.QueueNumbers]) -> Iterator[Number]:
    hour_ago = timezone.now() - HOUR
    failed, failed_lately, retrying, running, waiting = map(count_text, stats.totals())
    slots = stats.slots(stats.claiming(workers))
    oldest = max((numbers.oldest for numbers in queues.values()), default=timedelta(0))
    yield Number(_("Failed"), failed, _query(state=State.FAILED))
    lately = MomentRangeFilter.since("failed_at", hour_ago)
    yield Number(_("Failed in the last hour"), failed_lately, _query(state=State.FAILED, **lately))
    yield Number(_("Retrying"), retrying, _query(state=State.RETRYING))
    of_slots = _("%(running)s of %(slots)s") % {"running": running, "slots": slots}
    yield Number(_("Running"), of_slots, _query(state=State.RUNNING))
    yield Number(_("Waiting"), waiting, None)
    yield Number(_("The oldest waits for"), duration_text(oldest), None)


def without_worker(workers: Sequence[Any], lanes: Sequence[Lane]) -> Iterator[str]:
    """A sentence for each queue that has due jobs and is neither paused nor served."""
    claiming = stats.claiming(workers)
    due = [lane for lane in lanes if lane.due_in <= 0 and not lane.is_paused]
    left = sorted({lane.queue for lane in due if not stats.served_by(lane, claiming)})
    if left and not claiming:
        yield _("Jobs are due, and no worker claims any.")
    elif left:
        for queue in left[:MOST_QUEUES]:
            yield _("The queue “%(queue)s” has jobs that are due, and no worker.") % {"queue": queue}


def _silent(workers: Sequence[Any]) -> Iterator[str]:
    for worker in workers:
        if not worker.alive:
            what = {
                "worker": f"{worker.hostname}:{worker.pid}",
                "time": timesince(worker.heartbeat_at, depth=1),
            }
            yield _("The worker %(worker)s has sent no heartbeat for %(time)s.") % what


def _lines(queues: dict[str, stats.QueueNumbers]) -> Iterator[QueueLine]:
    pauses = {pause.pk: pause for pause in all_paused()}
    others = {name: stats.QueueNumbers() for name in sorted(set(pauses).difference(queues))}
    for name, numbers in (queues | others).items():
        pause = pauses.get(name)
        yield QueueLine(
            name,
            [
                (count_text(numbers.waiting), _query(queue=name)),
                (count_text(numbers.due), _query(queue=name, state=State.ENQUEUED)),
                (count_text(numbers.running), _query(queue=name, state=State.RUNNING)),
                (count_text(numbers.failed), _query(queue=name, state=State.FAILED)),
            ],
            duration_text(numbers.oldest),
            ago(pause.paused_at) if pause else None,
            pause.paused_by if pause else "",
        )


def _query(**values: str) -> str:
    return urlencode({name: str(value) for name, value in values.items()})
