"""Take jobs back that have not been performed yet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from ..conf import settings
from ..databases import parts
from ..enqueueing import all_rows
from ..exceptions import DelayedError
from ..fields import ClaimableField
from ..serialization.names import name_of, resolve
from .job import Job
from .payloads import read_payload

# A payload may be large.
ROWS_AT_A_TIME = 100

if TYPE_CHECKING:
    from ..models import DelayedJob
    from ..states import DelayedJobQuerySet


def dequeue(job_class: type[Job], /, *args: Any, **kwargs: Any) -> int:
    """Remove the waiting jobs of this class that were enqueued with these arguments. Returns how many.

    Without arguments, all waiting jobs of the class. The `before_dequeue` of the Job runs first, and if it
    returns False nothing is removed; `after_dequeue` runs if something was. Jobs that run, have failed or are
    kept stay. Raises TypeError for anything but a Job class and for arguments that do not fit its `perform`,
    SerializationError for arguments that no row can have.
    """
    if not isinstance(job_class, type) or not issubclass(job_class, Job):
        raise TypeError(f"dequeue() takes a Job class and its arguments, not {job_class!r}.")
    has_arguments = bool(args or kwargs)
    job = job_class(*args, **kwargs) if has_arguments else _without_arguments(job_class)
    rows = all_rows().waiting().filter(name__in=_names_of(job_class))
    wanted = None
    if has_arguments:
        wanted = _as_text(job.dump_arguments())
        rows = rows.filter(about=job.about)
    if job.before_dequeue() is False:
        return 0
    # Some may have been performed since they were read.
    discard = partial(all_rows().discard_batch, only=ClaimableField.condition)
    removed = sum(discard(found) for found in _matching(rows, job_class, wanted) if found)
    if removed:
        job.after_dequeue()
    return removed


def _without_arguments(job_class: type[Job]) -> Job:
    # Its perform() may require some, and __init__ would ask for them.
    job = job_class.__new__(job_class)
    job.args, job.kwargs = (), {}
    return job


def _names_of(job_class: type[Job]) -> set[str]:
    """The names that rows of the class may have: its present name and its former ones."""
    own = name_of(job_class)
    former = [old for old in settings.ALIASES if _leads_to(old, job_class)]
    return {name.partition(":")[2][:255] for name in (own, *job_class.aliases, *former)}


def _leads_to(name: str, job_class: type[Job]) -> bool:
    try:
        return resolve(name) is job_class
    except DelayedError:
        return False


def _matching(
    rows: DelayedJobQuerySet, job_class: type[Job], wanted: dict[str, str] | None
) -> Iterator[list[int]]:
    """The ids of these rows that hold such a job, in parts that one transaction may remove."""
    ids = list(rows.values_list("pk", flat=True))
    for some in parts(ids, ROWS_AT_A_TIME):
        part = rows.filter(pk__in=some).only("payload")
        yield [row.pk for row in part if _holds(row, job_class, wanted)]


def _holds(row: DelayedJob, job_class: type[Job], wanted: dict[str, str] | None) -> bool:
    try:
        payload, found = read_payload(row, Job)
    except DelayedError:
        return False
    return found is job_class and (wanted is None or wanted.items() <= _as_text(payload).items())


def _as_text(payload: dict[str, Any]) -> dict[str, str]:
    """Each part of the payload as JSON: 1, 1.0 and True are equal in Python, but different arguments."""
    return {name: json.dumps(part, sort_keys=True) for name, part in payload.items()}
