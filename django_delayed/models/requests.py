"""What operators ask of workers. It is written only for workers that are there."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from django.db import connections, transaction
from django.db.models import Exists, F, OuterRef

from ..conf import settings
from ..databases import DatabaseNow, database
from .workers import Verb, WorkerProcess, WorkerRequest

if TYPE_CHECKING:
    from ..states import DelayedJobQuerySet
    from .delayed_jobs import DelayedJob

# For a query of rows: whether the job of a row was asked to end.
IS_ASKED = Exists(
    WorkerRequest.objects.filter(
        verb=Verb.CANCEL, delayed_job_id=OuterRef("pk"), lock_token=OuterRef("lock_token")
    )
)


def ask_workers(verb: Verb, workers: Collection[str], by: str) -> list[str]:
    """Ask the workers of these ids to do this. Their log says who has asked.

    Their supervisors read it within three seconds. Returns the ids of those that were there to be asked.
    """
    written = _write(lambda: [_request(verb, worker, by) for worker in _lock(workers)])
    return [request.worker for request in written]


def ask_to_end(rows: DelayedJobQuerySet, by: str) -> int:
    """Ask the workers of the running ones among these rows to end their jobs, once for each claim.

    Returns how many were asked.
    """
    running = rows.running().exclude(IS_ASKED).only("locked_by", "lock_token")

    def requests() -> list[WorkerRequest]:
        found = list(running.all())
        there = _lock({row.locked_by for row in found})
        return [_request(Verb.CANCEL, row.locked_by, by, row) for row in found if row.locked_by in there]

    return len(_write(requests))


def _write(requests: Callable[[], list[WorkerRequest]]) -> list[WorkerRequest]:
    """Find and write these requests, and lock their workers, in one transaction."""
    alias = settings.DATABASE

    def write() -> list[WorkerRequest]:
        with transaction.atomic(using=alias):
            return WorkerRequest.objects.using(alias).bulk_create(requests())

    written: list[WorkerRequest] = database(connections[alias]).repeat_on_conflict(write)
    return written


def _lock(workers: Collection[str]) -> list[str]:
    """The workers among these that are there, in this order.

    Whoever removes one of them waits for the present transaction.
    """
    rows = WorkerProcess.objects.using(settings.DATABASE).filter(pk__in=workers)
    # This locks them on every database: whoever removes one of them then removes the request too.
    rows.update(pid=F("pid"))
    there = set(rows.values_list("pk", flat=True))
    return [worker for worker in dict.fromkeys(workers) if worker in there]


def _request(verb: Verb, worker: str, by: str, row: DelayedJob | None = None) -> WorkerRequest:
    return WorkerRequest(
        worker=worker,
        verb=verb,
        delayed_job_id=row.pk if row else None,
        lock_token=row.lock_token if row else None,
        requested_at=DatabaseNow(),
        requested_by=by[:255],
    )
