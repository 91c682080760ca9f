"""What an operator may do with jobs: retry and discard; with how many, until when, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from ..conf import settings
from ..models import DelayedJob
from ..states import OPEN, DelayedJobQuerySet
from .paginator import LIMIT

BATCH = 500  # rows a transaction: to move 200,000 in one keeps all of them locked for seconds
IDS_LOGGED = 100


@dataclass(frozen=True)
class Operation:
    """A move that an operator makes: which jobs it is for, how it is made, how it is spoken of."""

    name: str
    allowed: Callable[[DelayedJobQuerySet], DelayedJobQuerySet]
    move: Callable[[DelayedJobQuerySet], int]
    flag: int
    verb: Any
    question: Any
    button: Any
    consequence: Any
    done: Any
    partly_done: Any
    refused: Any


RETRY = Operation(
    name="retry",
    allowed=lambda jobs: jobs.failed(),
    move=lambda jobs: jobs.retry(),
    flag=CHANGE,
    verb=_("Retry"),
    question=ngettext_lazy("Retry %(count)d failed job?", "Retry %(count)d failed jobs?", "count"),
    button=ngettext_lazy("Retry %(count)d job", "Retry %(count)d jobs", "count"),
    consequence=_(
        "A retried job is ready at once and begins again at its first attempt. Its errors so far are kept."
    ),
    done=ngettext_lazy("%(moved)d job retried.", "%(moved)d jobs retried.", "moved"),
    partly_done=_("%(moved)d retried, %(skipped)d skipped: only failed jobs can be retried."),
    refused=_("Nothing to retry: only failed jobs can be retried."),
)
DISCARD = Operation(
    name="discard",
    allowed=lambda jobs: jobs.exclude(OPEN, locked_at__isnull=False),
    move=lambda jobs: jobs.discard(),
    flag=DELETION,
    verb=_("Discard"),
    question=ngettext_lazy("Discard %(count)d job?", "Discard %(count)d jobs?", "count"),
    button=ngettext_lazy("Discard %(count)d job", "Discard %(count)d jobs", "count"),
    consequence=_(
        "A discarded job is deleted with all that is known of its attempts. This cannot be undone."
    ),
    done=ngettext_lazy("%(moved)d job discarded.", "%(moved)d jobs discarded.", "moved"),
    partly_done=_("%(moved)d discarded, %(skipped)d skipped: running or gone already."),
    refused=_("Nothing to discard: a running job cannot be discarded."),
)


def as_of(jobs: DelayedJobQuerySet, moment: datetime) -> DelayedJobQuerySet:
    """Without the jobs that were created, failed or finished after `moment`: nobody has agreed to those."""
    unchanged = Q()
    for column in ("failed_at", "finished_at"):
        unchanged &= Q(**{f"{column}__isnull": True}) | Q(**{f"{column}__lte": moment})
    return jobs.filter(unchanged, created_at__lte=moment)


def carry_out(operation: Operation, jobs: DelayedJobQuerySet) -> tuple[int, list[int]]:
    """Move those of these jobs that may be moved, LIMIT at most. Returns how many moved, and the ids tried.

    Each batch is a transaction of its own and asks for the state again: two operators, or an operator and
    a worker, never move one row twice.
    """
    moved = 0
    tried: list[int] = []
    allowed = operation.allowed(jobs)
    while len(tried) < LIMIT:
        ids = list(allowed.values_list("pk", flat=True)[:BATCH])
        count = operation.move(DelayedJob.objects.using(settings.DATABASE).filter(pk__in=ids)) if ids else 0
        moved += count
        tried += ids
        if not count:
            break
    return moved, tried


def log(operation: Operation, user: Any, moved: int, ids: Sequence[int], where: str, job: Any = None) -> None:
    """One entry in the admin's log for all of it; that of a single job stands in its history, too."""
    some = ", ".join(map(str, ids[:IDS_LOGGED])) + (", …" if len(ids) > IDS_LOGGED else "")
    LogEntry.objects.create(
        user_id=user.pk,
        content_type=ContentType.objects.get_for_model(DelayedJob),
        object_id=job.pk if job else None,
        object_repr=str(job or operation.button % {"count": moved})[:200],
        action_flag=operation.flag,
        change_message=f"{operation.name}: {moved} of {len(ids)}{where and f' where {where}'}: {some}",
    )
