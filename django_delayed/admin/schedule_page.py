"""The page of a schedule: its next times, and the jobs that it has made; and words for its columns."""

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
from ..features.recurring.schedules import Cron, Every, Times, moment_of
from ..models import DelayedJob, all_rows
from .columns import WIDE
from .display import ago, chip, exact

NEXT_TIMES = 5
RUNS_SHOWN = 20


class RunLine(NamedTuple):
    """A job that a schedule has made, as the page shows it."""

    tick: str | None
    job: str
    state: str


def next_times(times: Times | None) -> list[str | None]:
    """The next five times, in the zone of the schedule; an interval has that of the admin."""
    ticks = list(islice(_ticks(times), NEXT_TIMES))
    # One without ticks may have a zone that does not exist.
    zone = times.zone if isinstance(times, Cron) and ticks else ""
    with timezone.override(zone) if zone else nullcontext():
        return [exact(_shown(tick)) for tick in ticks]


def next_run(row: Any) -> str | None:
    """When it makes its next job; None if it makes none."""
    return None if row.paused or row.gone else ago(_shown(next(_ticks(row.times), None)))


def last_run(row: Schedule) -> str | None:
    """The last of its ticks that became a job."""
    return ago(_shown(row.last_tick_at))


def run_lines(row: Schedule, address_of: Callable[[DelayedJob], str] | None) -> list[RunLine]:
    """The jobs that it has made last, the newest first, with the addresses of their pages."""
    runs = ScheduleRun.objects.using(settings.DATABASE).filter(schedule=row)
    made = list(runs.order_by("-pk")[:RUNS_SHOWN])
    found = all_rows().defer(*WIDE).in_bulk([run.delayed_job_id for run in made if run.delayed_job_id])
    return [_line(run, found.get(run.delayed_job_id or 0), address_of) for run in made]


def _line(
    run: ScheduleRun, row: DelayedJob | None, address_of: Callable[[DelayedJob], str] | None
) -> RunLine:
    tick = exact(_shown(moment_of(run.tick))) if run.tick is not None else None
    if run.delayed_job_id is None:
        return RunLine(tick, "", _("a hook did not want it"))
    job = f"#{run.delayed_job_id}"
    if row is None:
        return RunLine(tick, job, _("performed or discarded"))
    if address_of:
        job = format_html('<a href="{}">{}</a>', address_of(row), job)
    return RunLine(tick, job, chip(row.state))


def when(times: Times) -> str:
    """The cron expression and its zone, or the interval, in words."""
    return _("every %(interval)s") % {"interval": times.interval} if isinstance(times, Every) else str(times)


def state(row: Any) -> str:
    """Whether it makes jobs, as a coloured word."""
    name, label = (
        ("paused", _("paused"))
        if row.paused
        else ("gone", _("gone"))
        if row.gone
        else ("active", _("active"))
    )
    return format_html('<span class="delayed-state delayed-{}">{}</span>', name, label)


def _ticks(times: Times | None) -> Iterator[datetime]:
    """The next ticks; none of a schedule that cannot be read, as an UPDATE by hand may leave one."""
    with suppress(Exception):
        yield from times.after(timezone.now()) if times else ()


def _shown(moment: datetime | None) -> datetime | None:
    """The moment as Django has moments: without a zone, with USE_TZ=False."""
    if moment is None or django_settings.USE_TZ:
        return moment
    return timezone.make_naive(moment, timezone.get_default_timezone())
