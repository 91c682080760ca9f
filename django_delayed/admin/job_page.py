"""The page of one job: its facts, its call, its errors."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from django.contrib import admin
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..models import DelayedJob, FailedAttempt, WorkerProcess
from .display import chip, exact, preformatted
from .payloads import call_in, indented

TIMES = ("created_at", "run_at", "started_at", "failed_at", "finished_at")


@admin.display(description=gettext_lazy("state"))
def state(job: DelayedJob) -> str:
    return chip(job.state)


@admin.display(description=gettext_lazy("call"))
def call(job: DelayedJob) -> str:
    text = call_in(job.payload)
    return format_html('<code class="delayed-call">{}</code>', text) if text else preformatted(job.payload)


@admin.display(description=gettext_lazy("attempts"))
def tries(job: DelayedJob) -> str:
    counted = _("%(attempts)d of %(most)d") % {"attempts": job.attempts, "most": job.max_attempts}
    if not job.crashes:
        return counted
    return _("%(counted)s; its worker crashed %(crashes)d times running") % {
        "counted": counted,
        "crashes": job.crashes,
    }


@admin.display(description=gettext_lazy("worker"))
def worker(job: DelayedJob) -> str:
    return worker_names(job, {job.locked_by}).get(job.locked_by, job.locked_by)


@admin.display(description=gettext_lazy("payload"))
def payload(job: DelayedJob) -> str:
    return preformatted(indented(job.payload))


@admin.display(description=gettext_lazy("result"))
def result(job: DelayedJob) -> str:
    return preformatted(indented(job.result))


@admin.display(description=gettext_lazy("last error"))
def last_error(job: DelayedJob) -> str:
    return preformatted(job.last_error)


def _time(name: str) -> Any:
    @admin.display(description=DelayedJob._meta.get_field(name).verbose_name)  # type: ignore[union-attr]
    def time(job: DelayedJob) -> str | None:
        return exact(getattr(job, name))

    time.__name__ = name
    return time


def fieldsets(job: DelayedJob) -> list[tuple[Any, dict[str, Any]]]:
    """What the page says of this job: only what there is to say."""
    facts = [state, call, *(["subject"] if job.subject else []), ("queue", "priority"), tries]
    facts += [worker] if job.locked_by else []
    facts += [tuple(_time(name) for name in TIMES if getattr(job, name))]
    sections: list[tuple[Any, dict[str, Any]]] = [(None, {"fields": facts})]
    if job.result:
        sections.append((_("Result"), {"fields": [result], "classes": ["delayed-whole"]}))
    sections.append((_("Payload"), {"fields": [payload], "classes": ["collapse", "delayed-whole"]}))
    if job.last_error:
        sections.append((_("Last error"), {"fields": [last_error], "classes": ["delayed-whole"]}))
    return sections


class AttemptLine(NamedTuple):
    """A failed attempt as the page shows it."""

    number: int
    worker: str
    started: str | None
    ended: str | None
    error: str
    text: str | None


def failed_attempts(job: DelayedJob) -> list[AttemptLine]:
    """The failed attempts that are kept of this job, newest first."""
    attempts = list(FailedAttempt.objects.using(job._state.db).filter(job=job).order_by("-pk"))
    names = worker_names(job, {attempt.worker for attempt in attempts})
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


def worker_names(job: DelayedJob, ids: Collection[str]) -> dict[str, str]:
    """Host and process of the workers of these ids, as far as they still have a row."""
    workers = WorkerProcess.objects.using(job._state.db).in_bulk([pk for pk in ids if pk])
    return {pk: str(process) for pk, process in workers.items()}
