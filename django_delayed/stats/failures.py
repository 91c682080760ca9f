"""The causes of failed jobs: how many jobs each has, when and where they failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from django.db.models import Count, F, Max, Min, Q

from ..databases import DatabaseNow
from ..models import all_attempts, all_rows
from ..states import CANCELLED, DelayedJobQuerySet

# Failed jobs of a cause that are read for the places where they failed.
NEWEST = 1000
# Retrying rows that are read for their causes; no index has these.
MOST_RETRYING = 10_000
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DAYS = range(1, 8)
# What causes may be sorted by, and the column for it.
SORTED_BY = {"jobs": "-jobs", "hour": "-hour", "last": "-last", "first": "-first"}


@dataclass
class Cause:
    """What the failed jobs with one error fingerprint have in common; rows without one have "".

    `jobs` is how many have failed and were neither retried nor discarded since, `hour` how many in the last
    hour, `days` how many in each of the last seven days, the current one last. `now` is when they were
    counted.
    """

    fingerprint: str
    jobs: int
    first: datetime
    last: datetime
    newest: int  # the highest id
    now: datetime
    hour: int
    days: list[int]
    queues: dict[str, int] = field(default_factory=dict)  # with the number of their jobs


@dataclass
class RetryingCause:
    """The same for jobs that are retrying."""

    jobs: int
    newest: int
    queues: list[str]


def causes(most: int, by: str = "jobs") -> list[Cause]:
    """The first `most` causes, with the queues of their jobs.

    `by` is one of SORTED_BY: the number of jobs in all or in the last hour, or the time of the last or of the
    first failure; the highest comes first. Reads the index of the failed rows, and no row. A job that an
    operator has ended has no cause.
    """
    if by not in SORTED_BY:
        raise ValueError(f"by must be one of {', '.join(SORTED_BY)}, not {by!r}.")
    grouped = _by_cause(_failed()).order_by(SORTED_BY[by], "-newest")
    found = {cause.fingerprint: cause for cause in map(_cause, grouped[:most])}
    _count_queues(found)
    return list(found.values())


def cause(fingerprint: str) -> Cause | None:
    """The cause with this fingerprint; None without a failed job."""
    for found in map(_cause, _by_cause(_failed().filter(error_fingerprint=fingerprint))):
        _count_queues({fingerprint: found})
        return found
    return None


def failed_on(fingerprint: str) -> list[tuple[str, str, int]]:
    """Where the NEWEST jobs of a cause failed: hostname, id of the worker, how many jobs; most jobs first."""
    newest = _failed().filter(error_fingerprint=fingerprint).order_by("-failed_at", "-id")
    ids = list(newest.values_list("pk", flat=True)[:NEWEST])
    # Only the last recorded attempt of a job has the whole text of its error.
    last = all_attempts().filter(delayed_job__in=ids).exclude(error="").order_by()
    counted = last.values_list("hostname", "worker").annotate(jobs=Count("pk"))
    return list(counted.order_by("-jobs", "hostname", "worker"))


def retrying_causes() -> dict[str, RetryingCause]:
    """The errors of jobs that will be tried again, by fingerprint. Reads MOST_RETRYING rows at most."""
    found: dict[str, RetryingCause] = {}
    columns = ("error_fingerprint", "pk", "queue")
    for fingerprint, pk, queue in all_rows().retrying().order_by().values_list(*columns)[:MOST_RETRYING]:
        cause = found.setdefault(fingerprint, RetryingCause(0, pk, []))
        cause.jobs += 1
        cause.newest = max(cause.newest, pk)
        if queue not in cause.queues:
            cause.queues.append(queue)
    return found


def _failed() -> DelayedJobQuerySet:
    return all_rows().failed().exclude(error_fingerprint=CANCELLED).order_by()


def _by_cause(failed: DelayedJobQuerySet) -> Any:
    """A dict for each cause of these rows, from which `_cause` makes a Cause."""
    since = {f"day_{days}": _since(days * DAY) for days in DAYS}
    return failed.values(fingerprint=F("error_fingerprint")).annotate(
        jobs=Count("pk"),
        first=Min("failed_at"),
        last=Max("failed_at"),
        newest=Max("pk"),
        now=Max(DatabaseNow()),
        hour=_since(HOUR),
        **since,
    )


def _count_queues(causes: dict[str, Cause]) -> None:
    failed = _failed().filter(error_fingerprint__in=causes).values_list("error_fingerprint", "queue")
    for fingerprint, queue, jobs in failed.annotate(jobs=Count("pk")).order_by("-jobs", "queue"):
        causes[fingerprint].queues[queue] = jobs


def _since(age: timedelta) -> Count:
    return Count("pk", filter=Q(failed_at__gt=DatabaseNow(plus=-age)))


def _cause(group: dict[str, Any]) -> Cause:
    since = [0, *(group.pop(f"day_{days}") for days in DAYS)]
    days = [more - less for less, more in pairwise(since)]
    return Cause(**group, days=days[::-1])
