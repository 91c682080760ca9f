"""The jobs of schedules: one for each tick, and those that operators ask for."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextvars import Context
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction
from django.db.models import Count

from ...conf import settings
from ...databases import DatabaseNow, database, database_now
from ...enqueueing import enqueue_in_transaction
from ...options import check_options
from .definitions import Definition
from .models import Schedule, ScheduleRun, all_schedules
from .schedules import seconds_of

if TYPE_CHECKING:
    from ...models import DelayedJob

RUNS_KEPT = 100  # a schedule


def make_run(schedule: Schedule, definition: Definition, tick: datetime) -> DelayedJob | None:
    """Make the job of a tick, in one transaction with the ScheduleRun that records it.

    None if another supervisor has made it, the schedule is paused or gone by now, or a hook refuses it.
    """
    seconds = seconds_of(tick)
    # The UPDATE locks the row, so supervisors come to this point one after the other.
    free = all_schedules().filter(pk=schedule.pk, paused=False, since__lt=seconds)

    def make() -> DelayedJob | None:
        if not free.update(since=seconds, last_tick=seconds):
            return None
        return _enqueue(schedule, definition, seconds, {"run_at": tick})

    return _in_transaction(make)


def run_now(schedule: Schedule, definition: Definition) -> DelayedJob | None:
    """Make a job of the schedule at once, apart from its ticks. None if a hook refuses it."""
    return _in_transaction(lambda: _enqueue(schedule, definition, None, {}))


def pause(ids: Collection[int]) -> int:
    """Let these schedules make no jobs until they are resumed. Returns how many were not paused before."""
    return all_schedules().filter(pk__in=ids, paused=False).update(paused=True)


def resume(ids: Collection[int]) -> int:
    """Let these schedules make jobs again, from their next ticks on. Returns how many were paused."""
    return all_schedules().filter(pk__in=ids, paused=True).update(paused=False, since=now_in_seconds())


def now_in_seconds() -> int:
    """The time of the database, in seconds since 1970."""
    return seconds_of(database_now(connections[settings.DATABASE]))


def prune_runs() -> int:
    """Remove all but the last 100 runs of each schedule. Returns how many."""
    runs = ScheduleRun.objects.using(settings.DATABASE)
    counted = runs.values_list("schedule_id").annotate(number=Count("pk")).filter(number__gt=RUNS_KEPT)
    removed = 0
    for schedule, _ in counted.order_by():
        of_one = runs.filter(schedule_id=schedule)
        newest = of_one.order_by("-pk").values_list("pk", flat=True)[:RUNS_KEPT]
        removed += of_one.filter(pk__lt=min(newest)).delete()[0]
    return removed


def _enqueue(
    schedule: Schedule, definition: Definition, tick: int | None, options: dict[str, Any]
) -> DelayedJob | None:
    job = definition.make_job()
    job.layers = (*job.layers, check_options(options))
    # In a context of its own: in that of a supervisor, jobs are refused, as they may report its own trouble.
    row = Context().run(partial(enqueue_in_transaction, job))
    ScheduleRun.objects.using(settings.DATABASE).create(
        schedule=schedule, tick=tick, delayed_job_id=row.pk if row else None, created_at=DatabaseNow()
    )
    return row


def _in_transaction(operation: Callable[[], DelayedJob | None]) -> DelayedJob | None:
    alias = settings.DATABASE

    def run() -> DelayedJob | None:
        with transaction.atomic(using=alias):
            return operation()

    made: DelayedJob | None = database(connections[alias]).repeat_on_conflict(run)
    return made
