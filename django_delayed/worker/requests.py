"""What operators ask of workers. The process that watches the workers reads it every READ_EVERY."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta

from ..conf import settings
from ..models import Verb, WorkerRequest, all_rows

READ_EVERY = timedelta(seconds=2.5)


def read_requests(workers: Collection[str], carry_out: Callable[[WorkerRequest], object]) -> None:
    """Carry out what is asked of the workers of these ids. It takes one statement if nothing is asked.

    If the removal of a request fails, it is carried out again, and after it those that came later. A request
    to end a job is carried out each time, until the job has ended.
    """
    requests = WorkerRequest.objects.using(settings.DATABASE)
    found = list(requests.filter(worker__in=workers).order_by("pk"))
    cancels = [request for request in found if request.verb == Verb.CANCEL]
    stay = _those_of_running_jobs(cancels) if cancels else set()
    for request in found:
        if request.verb != Verb.CANCEL or request.pk in stay:
            carry_out(request)
    if over := [request.pk for request in found if request.pk not in stay]:
        requests.filter(pk__in=over).delete()


def _those_of_running_jobs(requests: Collection[WorkerRequest]) -> set[int]:
    """The ids of those of these requests that are about jobs which have not ended."""
    ids = [request.delayed_job_id or 0 for request in requests]
    running = set(all_rows().running().filter(pk__in=ids).values_list("pk", "lock_token"))
    return {request.pk for request in requests if (request.delayed_job_id, request.lock_token) in running}
