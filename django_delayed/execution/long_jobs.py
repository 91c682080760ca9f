"""Write the cursors of a long job: apart from its own connections, guarded by its claim."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Set
from contextlib import AbstractContextManager
from typing import TypeVar

from django.db import Error, connections, transaction

from ..conf import settings
from ..databases import database, in_callers_transaction
from ..databases.sessions import close_broken
from ..exceptions import JobInterrupted
from ..features.iteration.cursors import Cursor
from ..models import DelayedJob, all_cursors, all_rows
from ..serialization.errors import printable
from ..signals import fields_of
from ..states import CURSORS
from .deadline import undisturbed
from .session import Session
from .stopping import Stop

T = TypeVar("T")

logger = logging.getLogger("django_delayed")


class AttemptCursors:
    """The cursors of one attempt in their table.

    Each is written in one transaction with a statement that locks the row, and finds it only while its claim
    is the valid one. So a worker that has lost the job moves no cursor of the next one, and commits no chunk.
    """

    def __init__(self, row: DelayedJob, session: Session, stop: Stop) -> None:
        self._row = row
        self._session = session
        self._stop = stop

    def read(self) -> Mapping[str, str]:
        """The cursors of earlier attempts as JSON, by their keys."""
        if not self._row.extras & CURSORS:
            return {}
        return self._on_connection_of_queue(lambda: all_cursors().of(self._row))

    def write(self, cursors: Mapping[str, Cursor]) -> bool:
        """Write these on the connection of the queue; False if the database is unavailable.

        Raises JobInterrupted if the job has lost its claim.
        """
        return self._on_connection_of_queue(lambda: self._write(cursors))

    def write_inside(self, cursors: Mapping[str, Cursor]) -> None:
        """As `write`, on the connection of the job. Raises the error of the database too."""
        with transaction.atomic(using=settings.DATABASE):
            self._put(cursors)

    def undisturbed(self) -> AbstractContextManager[None]:
        """A block in which no JobTimeout is raised."""
        return undisturbed()

    def break_off(self) -> None:
        """Close the job's connection to the database of the queue."""
        self._session.break_off()

    def transactions(self) -> Set[str]:
        """The aliases on which the job has a transaction open."""
        return self._session.blocks_of_job()

    def interrupted(self) -> None:
        """Log that the attempt ends early."""
        if not self._stop.is_cancelled():
            what = "%s is interrupted, as its worker is being stopped; it will go on from here"
            logger.info(what, self._row, extra=fields_of(self._row))

    def _write(self, cursors: Mapping[str, Cursor]) -> bool:
        connection = connections[settings.DATABASE]
        try:
            database(connection).repeat_on_conflict(lambda: self.write_inside(cursors))
        except Error as error:
            if in_callers_transaction(connection):
                raise
            close_broken(connection)
            what = "%s: its cursor cannot be written now: %s"
            logger.warning(what, self._row, printable(str(error)), extra=fields_of(self._row))
            return False
        return True

    def _put(self, cursors: Mapping[str, Cursor]) -> None:
        if not all_rows().mark_held(self._row, CURSORS):
            raise JobInterrupted
        all_cursors().put(self._row, cursors)
        self._row.extras |= CURSORS

    def _on_connection_of_queue(self, statement: Callable[[], T]) -> T:
        # A JobTimeout would leave the connection in the middle of a statement, or leave it to the job.
        with undisturbed(), self._session.outside():
            return statement()
