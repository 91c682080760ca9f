"""The page of one job: its facts, its errors, its payload."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from django.utils.html import format_html
from django.utils.translation import gettext as _

from ..models import DelayedJob, FailedAttempt, WorkerProcess
from .display import chip, exact, preformatted
from .payloads import call_in, indented

MOMENTS = ("created_at", "run_at", "started_at", "failed_at", "finished_at")


class AttemptLine(NamedTuple):
    """A failed attempt as the page shows it."""

    number: int
    worker: str
    started: str | None
    ended: str | None
    error: str
    text: str | None


def contents(row: DelayedJob, with_arguments: bool) -> dict[str, Any]:
    """The context of the template of this job's page; its arguments and its result may be left out."""
    return {
        "call": _call(row) if with_arguments else _code(row.name),
        "facts": list(_facts(row)),
        "last_error": preformatted(row.last_error) if row.last_error else None,
        "failed_attempts": failed_attempts(row),
        "result": preformatted(indented(row.result)) if row.result and with_arguments else None,
        "payload": preformatted(indented(row.payload)) if with_arguments else None,
    }


def tries(row: DelayedJob) -> str:
    """ "2 of 25", and how often in a row its worker crashed in it."""
    counted = _("%(attempts)d of %(most)d") % {"attempts": row.attempts, "most": row.max_attempts}
    if not row.crashes:
        return counted
    crashes = {"counted": counted, "crashes": row.crashes}
    return _("%(counted)s; crashes in a row: %(crashes)d") % crashes


def failed_attempts(row: DelayedJob) -> list[AttemptLine]:
    """The failed attempts of this job, newest first."""
    attempts = list(FailedAttempt.objects.using(row._state.db).filter(delayed_job=row).order_by("-pk"))
    names = _worker_names(row, {attempt.worker for attempt in attempts})
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


def _call(row: DelayedJob) -> str:
    text = call_in(row.payload)
    return _code(text) if text else preformatted(indented(row.payload))


def _code(call: str) -> str:
    return format_html('<code class="delayed-call">{}</code>', call)


def _facts(row: DelayedJob) -> Iterator[tuple[Any, Any]]:
    yield _("State"), chip(row.state)
    yield _("Attempts"), tries(row)
    yield _("Queue"), row.queue
    yield _("Priority"), row.priority
    if row.about:
        yield _("About"), row.about
    if row.locked_by:
        yield _("Worker"), _worker_names(row, {row.locked_by}).get(row.locked_by, row.locked_by)
    for name in MOMENTS:
        if moment := getattr(row, name):
            yield row._meta.get_field(name).verbose_name, exact(moment)  # type: ignore[union-attr]


def _worker_names(row: DelayedJob, ids: Collection[str]) -> dict[str, str]:
    """Host and process of those workers of these ids that still have a row."""
    workers = WorkerProcess.objects.using(row._state.db).in_bulk([pk for pk in ids if pk])
    return {pk: str(process) for pk, process in workers.items()}
