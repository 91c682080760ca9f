"""Write what a job says about its progress, while it runs and apart from its own connections."""

from __future__ import annotations

import logging
import threading
import time
from asyncio import Task
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from types import TracebackType

from asgiref.sync import sync_to_async
from django.db import Error, connections, transaction

from ..conf import settings
from ..databases.event_loops import running_loop
from ..databases.sessions import close, close_broken
from ..features.progress.said import Said
from ..models import DelayedJob, all_progress
from ..serialization.errors import printable
from ..signals import fields_of
from .deadline import undisturbed
from .session import Session

logger = logging.getLogger("django_delayed")

WRITE_EVERY = 1.0  # seconds


class Reporter:
    """The progress of one attempt, which is this `with` block. Raises no error of the database.

    It is written when the job says it, but once a second at most, and at the end. Others see it at once. The
    thread of the job writes on the connection of the queue. Other threads of the job write on a connection of
    their own, and so does any thread after the attempt. On SQLite, nothing can be written beside an open
    transaction of the job: it is written when that is over.
    """

    def __init__(self, row: DelayedJob, session: Session, thread: int) -> None:
        """`thread` is the one that performs the job."""
        self._row = row
        self._session = session
        self._thread = thread
        self._is_over = False
        self._has_written = False
        self._has_warned = False
        self._unwritten: Said | None = None
        # An event loop does not keep a task alive.
        self._writing: Task[None] | None = None
        self._written_at = -WRITE_EVERY
        # A thread that finds it taken leaves what was said to the next write.
        self._lock = threading.Lock()

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with undisturbed(), self._lock:
            if error is None and self._row.keep_for is None:
                # Its row is removed next.
                self._unwritten = None
                if self._has_written:
                    self._try(lambda: all_progress().filter(pk=self._row.pk).delete())
            self._write()
            self._is_over = True

    def say(self, said: Said) -> None:
        """Note how far the job is."""
        self._unwritten = said
        if not self._is_over and time.monotonic() - self._written_at < WRITE_EVERY:
            return
        if loop := running_loop():
            # No query can be made in this thread. What is not written by then is written at the end.
            self._writing = loop.create_task(sync_to_async(self._write_unless_taken)())
            return
        self._write_unless_taken()

    def _write_unless_taken(self) -> None:
        with undisturbed():
            if self._lock.acquire(blocking=False):
                try:
                    self._write()
                finally:
                    self._lock.release()

    def _write(self) -> None:
        said = self._unwritten
        if said is None or not self._can_write():
            return
        self._unwritten, self._written_at = None, time.monotonic()
        # Then in ASCII: the charset of the database may lack a character of the note.
        in_ascii = replace(said, note=said.note.encode("ascii", "replace").decode())
        for text in dict.fromkeys((said, in_ascii)):
            if (error := self._try(partial(all_progress().put, self._row, text))) is None:
                self._has_written = True
                return
        if self._unwritten is None:
            self._unwritten = said
        if not self._has_warned:
            self._has_warned = True
            what = "%s: its progress cannot be written now: %s"
            logger.warning(what, self._row, printable(str(error)), extra=fields_of(self._row))

    def _try(self, statements: Callable[[], object]) -> Error | None:
        """Run these in a transaction. Returns the error of the database, if there is one."""
        with self._connection():
            try:
                with transaction.atomic(using=settings.DATABASE):
                    statements()
            except Error as error:
                close_broken(connections[settings.DATABASE])
                return error
        return None

    def _can_write(self) -> bool:
        # SQLite has one writer at a time: beside a transaction of the job, we would wait for ourselves.
        is_beside = connections[settings.DATABASE].features.has_select_for_update
        if self._is_at_home():
            is_free = is_beside or settings.DATABASE not in self._session.open_blocks()
            return is_free or self._session.is_shared
        return (is_beside or self._is_over) and not self._session.is_shared

    def _is_at_home(self) -> bool:
        """Whether this is the thread that performs the job, while the session of the job is open."""
        return threading.get_ident() == self._thread and not self._is_over

    def _connection(self) -> AbstractContextManager[None]:
        return self._session.outside() if self._is_at_home() else _another_connection()


@contextmanager
def _another_connection() -> Iterator[None]:
    """A block in which this thread has a new connection to the database of the queue."""
    alias = settings.DATABASE
    present = connections[alias]
    connections[alias] = another = present.copy()
    try:
        yield
    finally:
        connections[alias] = present
        close([another])
