"""The page of a schedule: its next times, its state, and the jobs that it has made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from django.conf import settings as django_settings
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _

from ..conf import settings
from ..features.recurring.models import Schedule, ScheduleRun
from ..features.recurring.schedules import Cron, Times, moment_of
from ..models import DelayedJob, all_rows
from .columns import WIDE
from .display import badge, chip, exact

NEXT_TIMES = 5
RUNS_SHOWN = 20


class RunLine(NamedTuple):
    """A job that a schedule has made, as the page shows it."""

    tick: str | None
    job: str
    state: str


def next_times(times: Times | None) -> list[str | None]:
    """The next five times, in the zone of the schedule; for an interval, in the current one."""
    found = list(islice(ticks(times), NEXT_TIMES))
    # A schedule without ticks may have a zone that does not exist.
    zone = times.zone if isinstance(times, Cron) and found else ""
    with timezone.override(zone) if zone else nullcontext():
        return [exact(shown(tick)) for tick in found]


def run_lines(row: Schedule, page_of: Callable[[int], str] | None) -> list[RunLine]:
    """The last jobs that the schedule has made, the newest first; `page_of` gives the address of a job."""
    runs = ScheduleRun.objects.using(settings.DATABASE).filter(schedule=row)
    made = list(runs.order_by("-pk")[:RUNS_SHOWN])
    found = all_rows().defer(*WIDE).in_bulk([run.delayed_job_id for run in made if run.delayed_job_id])
    return [_line(run, found.get(run.delayed_job_id or 0), page_of) for run in made]


def _line(run: ScheduleRun, row: DelayedJob | None, page_of: Callable[[int], str] | None) -> RunLine:
    tick = exact(shown(moment_of(run.tick))) if run.tick is not None else None
    if run.delayed_job_id is None:
        return RunLine(tick, "", _("a hook refused it"))
    job = f"#{run.delayed_job_id}"
    if row is None:
        return RunLine(tick, job, _("performed or discarded"))
    if page_of:
        job = format_html('<a href="{}">{}</a>', page_of(row.pk), job)
    return RunLine(tick, job, chip(row.state))


def state(row: Any) -> str:
    """Whether it makes jobs, as a coloured word."""
    if row.paused:
        return badge(_("paused"), "paused")
    return badge(_("gone"), "gone") if row.gone else badge(_("active"), "active")


def ticks(times: Times | None) -> Iterator[datetime]:
    """The next ticks; none for a schedule that cannot be read, as after an UPDATE by hand."""
    with suppress(Exception):
        yield from times.after(timezone.now()) if times else ()


def shown(moment: datetime | None) -> datetime | None:
    """The moment as Django has it: with USE_TZ=False, without a zone."""
    if moment is None or django_settings.USE_TZ:
        return moment
    return timezone.make_naive(moment, timezone.get_default_timezone())
