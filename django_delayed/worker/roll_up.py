"""What a worker has performed in each minute, as rows for the charts of the overview."""

from __future__ import annotations

import logging
import secrets
import time
from datetime import timedelta

from django.db import Error, IntegrityError

from ..conf import settings
from ..databases import DatabaseNow
from ..models import JobStat, all_stats
from ..reports import reporting
from .activity import Activity
from .tally import Tally

# The time between two checks whether a minute is over.
ROLL_UP_EVERY = timedelta(seconds=10)

logger = logging.getLogger("django_delayed")


class RollUp:
    """Writes a row for each minute in which a worker has performed something.

    It reads the page that the worker writes, in the process that sends the heartbeats: no job costs a
    statement, and a worker that dies loses none of it. When that process dies, its minute is lost.
    """

    def __init__(self, worker: str, activity: Activity) -> None:
        self._worker = worker
        self._activity = activity
        self._minute, self._since = _minute(), time.monotonic()
        # The tally until then.
        self._before = Tally()
        # What this process has settled for the worker, which is not on the page.
        self._beside = Tally()
        # A row that is to be written, and may have been.
        self._row: JobStat | None = None

    def count(self, settled: Tally) -> None:
        """Count these jobs too, which the worker had begun and another process has settled."""
        self._beside = self._beside.plus(settled)

    def write_if_due(self) -> None:
        """Write a row if a minute is over, by the clock of this machine, in which something was performed.

        Call it again after an error of the database.
        """
        if self._row is None and _minute() != self._minute:
            self._row = self._next_row(self._activity.tally)
            for slot in self._activity.slots:
                slot.forget_longest()
        self._write()

    def end(self, last: Tally) -> None:
        """Write the rest, when the worker has ended; `last` is what the page said then.

        What the database refuses is lost: no worker has to wait for it.
        """
        try:
            self._write()
            self._row = self._next_row(last)
            self._write()
        except Error as error:
            with reporting():
                what = "What worker %s performed in its last minute is not counted: %s"
                logger.warning(what, self._worker, str(error).strip())

    def _write(self) -> None:
        if self._row is None:
            return
        try:
            self._row.save(using=settings.DATABASE, force_insert=True)
        except IntegrityError:
            # The id is random: the row is there, and the answer to an earlier INSERT was lost on its way.
            if not all_stats().filter(pk=self._row.pk).exists():
                raise
        self._row = None

    def _next_row(self, on_page: Tally) -> JobStat | None:
        now, tally = time.monotonic(), on_page.plus(self._beside)
        new, middle = tally.since(self._before), timedelta(seconds=(now - self._since) / 2)
        self._minute, self._since, self._before = _minute(), now, tally
        self._beside = self._beside._replace(longest=0.0)
        if not new.processed:
            return None
        return JobStat(id=secrets.randbits(63), minute=DatabaseNow(plus=-middle), **new._asdict())


def _minute() -> int:
    return int(time.time()) // 60
