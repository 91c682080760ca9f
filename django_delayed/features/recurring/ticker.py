"""What a supervisor does for schedules: it announces those of its code, and makes the jobs that are due."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from django.db import InterfaceError, OperationalError, connections
from django.db.models import Q

from ...conf import settings
from ...databases import DatabaseNow, aware, database
from .definitions import Definition, definition_of
from .models import CatchUp, Schedule, all_schedules
from .runs import make_run, now_in_seconds
from .schedules import moment_of

logger = logging.getLogger("django_delayed")

MOST_CAUGHT_UP = 100
# Seconds to wait beyond the next tick: a database may keep milliseconds only.
SLACK = 0.002


class Ticker:
    """The schedules of the code of this process, and those that operators have made.

    `due_in` is in how many seconds `run` is to be called again; None while there are no schedules.
    """

    def __init__(self, definitions: Mapping[str, Definition]) -> None:
        self.due_in: float | None = None
        self._definitions = definitions
        self._announce_at = 0.0
        self._are_written = False
        # The schedules that have failed: the id of each, and what the log was told last.
        self._reported: dict[int, str] = {}

    def run(self) -> None:
        """Make the jobs that are due. Without schedules, it is one statement, and once a lease is enough."""
        if self._definitions and time.monotonic() >= self._announce_at:
            self._announce()
        mine = Q(in_code=False) | Q(in_code=True, name__in=[*self._definitions])
        rows = all_schedules().filter(mine, paused=False).annotate(now=DatabaseNow())
        waits = [self._make_due(row) for row in rows.order_by("pk")]
        # Never longer: it has to announce its own schedules, and to see what an operator has changed.
        waits += [_interval()] if waits or self._definitions else []
        self.due_in = min((wait for wait in waits if wait is not None), default=None)

    def _announce(self) -> None:
        if not self._are_written:
            self._write()
        queue = database(connections[settings.DATABASE])
        announced: int = queue.repeat_on_conflict(lambda: self._rows().update(announced_at=DatabaseNow()))
        # An operator may have deleted one of them meanwhile.
        self._are_written = announced == len(self._definitions)
        self._announce_at = time.monotonic() + _interval()

    def _write(self) -> None:
        """Write the rows of the schedules of this code; the supervisor that starts last wins."""
        rows = {row.name: row for row in self._rows()}
        now = now_in_seconds()
        for name, definition in self._definitions.items():
            columns = definition.columns
            row = rows.get(name)
            if row and definition.times != row.times:
                # Past ticks of the new times were not missed: no job is made for them.
                columns["since"] = now
            if row and any(getattr(row, column) != value for column, value in columns.items()):
                all_schedules().filter(pk=row.pk).update(**columns)
        missing = [
            Schedule(name=name, in_code=True, since=now, **definition.columns)
            for name, definition in self._definitions.items()
            if name not in rows
        ]
        # Another supervisor may start at the same moment.
        all_schedules().bulk_create(missing, ignore_conflicts=True)

    def _rows(self) -> Any:
        return all_schedules().filter(in_code=True, name__in=[*self._definitions])

    def _make_due(self, row: Any) -> float | None:
        """Make the jobs of a schedule; returns in how many seconds its next tick comes."""
        now = aware(row.now)
        try:
            definition = self._definitions[row.name] if row.in_code else definition_of(row)
            for tick in _due(row, definition, now):
                if make_run(row, definition, tick) and now - tick > settings.LEASE:
                    what = "The schedule %s has missed its tick of %s; its job is enqueued now"
                    logger.warning(what, row, tick)
            following = next(definition.times.after(now))
        except Exception as error:
            if self._is_trouble_of_the_queue(error):
                raise
            self._report(row, error)
            # The next call tries again.
            return None
        self._reported.pop(row.pk, None)
        return (following - now).total_seconds() + SLACK

    def _is_trouble_of_the_queue(self, error: Exception) -> bool:
        """Whether the database is unavailable, and the error is not that of a hook of the project."""
        if not isinstance(error, OperationalError | InterfaceError):
            return False
        return not database(connections[settings.DATABASE]).is_permanent(error)

    def _report(self, row: Schedule, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        if self._reported.get(row.pk) != text:
            self._reported[row.pk] = text
            logger.error("The schedule %s cannot make its job: %s", row, text, exc_info=error)


def _due(row: Schedule, definition: Definition, now: datetime) -> Iterator[datetime]:
    """The ticks that still have to become jobs; `catch_up` says which of the missed ones do."""
    most = MOST_CAUGHT_UP if definition.catch_up == CatchUp.ALL else 1
    missed_before = now - settings.LEASE
    for tick in definition.times.last(moment_of(row.since), now, most):
        if definition.catch_up != CatchUp.NONE or tick > missed_before:
            yield tick


def _interval() -> float:
    """How often schedules are announced, in seconds: six times a lease, as heartbeats are sent."""
    return settings.LEASE.total_seconds() / 6
