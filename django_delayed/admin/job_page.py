"""The page of one job: its facts, its errors, its payload."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from django.utils.html import format_html
from django.utils.translation import gettext as _

from ..models import DelayedJob, FailedAttempt, WorkerProcess
from .display import chip, exact, preformatted
from .payloads import call_in, indented

TIMES = ("created_at", "run_at", "started_at", "failed_at", "finished_at")


class AttemptLine(NamedTuple):
    """A failed attempt as the page shows it."""

    number: int
    worker: str
    started: str | None
    ended: str | None
    error: str
    text: str | None


def contents(job: DelayedJob) -> dict[str, Any]:
    """All that the page of this job says, for its template."""
    return {
        "call": _call(job),
        "facts": list(_facts(job)),
        "last_error": preformatted(job.last_error) if job.last_error else None,
        "failed_attempts": failed_attempts(job),
        "result": preformatted(indented(job.result)) if job.result else None,
        "payload": preformatted(indented(job.payload)),
    }


def tries(job: DelayedJob) -> str:
    """ "2 of 25"; and how often its worker crashed over it, when that did."""
    counted = _("%(attempts)d of %(most)d") % {"attempts": job.attempts, "most": job.max_attempts}
    if not job.crashes:
        return counted
    crashes = {"counted": counted, "crashes": job.crashes}
    return _("%(counted)s; crashes in a row: %(crashes)d") % crashes


def failed_attempts(job: DelayedJob) -> list[AttemptLine]:
    """The failed attempts that are kept of this job, newest first."""
    attempts = list(FailedAttempt.objects.using(job._state.db).filter(job=job).order_by("-pk"))
    names = _worker_names(job, {attempt.worker for attempt in attempts})
    return [
        AttemptLine(
            attempt.number,
            names.get(attempt.worker, attempt.worker),
            exact(attempt.started_at),
            exact(attempt.ended_at),
            str(attempt),
            preformatted(attempt.error) if attempt.error else None,
        )
        for attempt in attempts
    ]


def _call(job: DelayedJob) -> str:
    text = call_in(job.payload)
    return format_html('<code class="delayed-call">{}</code>', text) if text else preformatted(job.payload)


def _facts(job: DelayedJob) -> Iterator[tuple[Any, Any]]:
    yield _("State"), chip(job.state)
    yield _("Attempts"), tries(job)
    yield _("Queue"), job.queue
    yield _("Priority"), job.priority
    if job.subject:
        yield _("Subject"), job.subject
    if job.locked_by:
        yield _("Worker"), _worker_names(job, {job.locked_by}).get(job.locked_by, job.locked_by)
    for name in TIMES:
        if moment := getattr(job, name):
            yield job._meta.get_field(name).verbose_name, exact(moment)  # type: ignore[union-attr]


def _worker_names(job: DelayedJob, ids: Collection[str]) -> dict[str, str]:
    """Host and process of the workers of these ids, as far as they still have a row."""
    workers = WorkerProcess.objects.using(job._state.db).in_bulk([pk for pk in ids if pk])
    return {pk: str(process) for pk, process in workers.items()}
