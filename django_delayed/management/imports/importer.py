"""Waiting rows of another queue become delayed jobs: which of them can, why others stay, and the move."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

from django.core.management.base import CommandError
from django.db import DatabaseError, connections, router, transaction
from django.db.models import Model, QuerySet

from ...conf import settings
from ...databases import database, parts
from ...enqueueing import enqueue_in_transaction
from ...jobs import Job
from ...options import choose_options

ROWS_AT_A_TIME = 500
_REFUSED = "its job is refused: by a before_enqueue, or because it is unique and an equal one waits."


class Source(Protocol):
    """Another queue of the project."""

    model: type[Model]

    def unfinished(self) -> QuerySet[Any]:
        """Its rows that wait, run, or repeat, in the order in which they are due there."""

    def name_of(self, row: Any) -> str:
        """What the row is called, for people."""

    def job_of(self, row: Any) -> Job:
        """The row as a job that is not enqueued yet. Raises Stays, or other errors that say what is wrong."""


class Stays(Exception):
    """A row that stays where it is, and why."""


class Import:
    """The rows of a source: `names` counts those that can be moved, `staying` the others by name and reason.

    Raises CommandError if the two queues are in different databases.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.ids: list[Any] = []
        self.names: Counter[str] = Counter()
        self.staying: dict[tuple[str, str], list[Any]] = {}
        theirs = router.db_for_write(source.model)
        if theirs != settings.DATABASE:
            raise CommandError(
                f"Their rows are in the database {theirs!r}, and the queue is in {settings.DATABASE!r}. No"
                " transaction can cover both, so a task could be lost or performed twice. Let its workers"
                " empty the old queue."
            )

    def look(self) -> None:
        """Find out which rows can be moved. Writes nothing, and calls no hook of a job."""
        for row in self._rows().iterator(chunk_size=ROWS_AT_A_TIME):
            try:
                _check(self.source.job_of(row))
            except DatabaseError:
                raise
            except Exception as error:
                self._keep(row, error)
            else:
                self.ids.append(row.pk)
                self.names[self.source.name_of(row)] += 1

    def move(self) -> int:
        """Move the rows that were found, in chunks. Returns how many; the others are added to `staying`."""
        repeat = database(connections[settings.DATABASE]).repeat_on_conflict
        self.staying.clear()
        moved = 0
        for chunk in parts(self.ids, ROWS_AT_A_TIME):
            done, failed = repeat(partial(self._move, chunk))
            moved += done
            for row, error in failed:
                self._keep(row, error)
        return moved

    def _move(self, chunk: Sequence[Any]) -> tuple[int, list[tuple[Any, Exception]]]:
        """Write our rows and delete theirs in one transaction, which locks theirs first."""
        failed: list[tuple[Any, Exception]] = []
        moved = []
        with transaction.atomic(using=settings.DATABASE):
            for row in self._rows().filter(pk__in=chunk).select_for_update():
                try:
                    # If the job is not enqueued, what a hook or a receiver has written is rolled back too.
                    with transaction.atomic(using=settings.DATABASE):
                        self._enqueue(row)
                except DatabaseError:
                    raise
                except Exception as error:
                    failed.append((row, error))
                else:
                    moved.append(row.pk)
            self._rows().filter(pk__in=moved).delete()
        return len(moved), failed

    def _enqueue(self, row: Any) -> None:
        if enqueue_in_transaction(self.source.job_of(row)) is None:
            raise Stays(_REFUSED)

    def _rows(self) -> QuerySet[Any]:
        return self.source.unfinished().using(settings.DATABASE)

    def _keep(self, row: Any, error: Exception) -> None:
        why = str(error) or type(error).__name__
        self.staying.setdefault((self.source.name_of(row), why), []).append(row.pk)


def _check(job: Job) -> None:
    """Raise what the enqueue of the job would raise for its options and arguments."""
    chosen = choose_options((job.class_options(), *job.layers), job.target)
    job.row_values(chosen.get("max_run_time"))
