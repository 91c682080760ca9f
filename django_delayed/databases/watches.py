"""What tells an idle worker of new rows before its sleep is over. If it misses some, they wait one sleep."""

from __future__ import annotations

import logging
import math
import os
import secrets
import select
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from .file_changes import FileChanges

logger = logging.getLogger("django_delayed")

# Seconds between two looks.
LOOK_EVERY = 0.22
LOOK_AT_VERSION_EVERY = 0.02
# From the first write to SQLite's file to the end of the transaction, in seconds. After a longer one, the
# commit is noticed at the next look.
COMMITS_WITHIN = 0.2
# Seconds between two notifications of a process, at least. Each commit that notifies takes a lock of the
# whole server, which halves the rate of commits.
NOTIFY_EVERY = 0.05
CHANNEL = "django_delayed"
# Seconds that a notification may take to arrive.
ARRIVES_WITHIN = 1.0


class Watch(ABC):
    """A watch of the queue over one connection.

    `pause` is the longest time in seconds until the next call of `has_news`, and `fd`, if there is one, is
    readable when there is news.
    """

    fd: int | None = None
    pause: float

    def begin(self, is_one_due: bool) -> None:
        """A sleep begins; `is_one_due` says whether a row is due that others keep from being claimed."""
        return None

    @abstractmethod
    def has_news(self) -> bool:
        """Whether rows may have been written since the last call. Raises an error of the database."""


class Looks(Watch):
    """Asks several times a second whether a row is due."""

    pause = LOOK_EVERY

    def __init__(self, is_one_due: Callable[[], bool]) -> None:
        self._is_one_due = is_one_due
        self._was_due = False

    def begin(self, is_one_due: bool) -> None:
        self._was_due = is_one_due

    def has_news(self) -> bool:
        # A row that another transaction has locked stays due. That is not news.
        before, self._was_due = self._was_due, self._is_one_due()
        return self._was_due and not before


class DataVersion(Watch):
    """Asks SQLite whether another connection has committed anything, which takes microseconds.

    Where the system tells of writes to the file, it is asked after each of them, and rarely otherwise, as
    some writes may come from another machine.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self._session: Any = connection.connection
        self._version = 0
        self._writes = _writes_to_file(self._session)
        self._is_written_until = 0.0

    @property
    def pause(self) -> float:  # type: ignore[override]
        return LOOK_EVERY if self._writes and not self._is_written else LOOK_AT_VERSION_EVERY

    @property
    def fd(self) -> int | None:  # type: ignore[override]
        # While others write, each of their writes would end the sleep.
        return self._writes.fd if self._writes and not self._is_written else None

    def has_news(self) -> bool:
        if self._writes and self._writes.have_come():
            # The file is written to before the transaction is committed.
            self._is_written_until = time.monotonic() + COMMITS_WITHIN
        with self._connection.wrap_database_errors:
            before, [self._version] = self._version, self._session.execute("PRAGMA data_version").fetchone()
        return self._version != before

    @property
    def _is_written(self) -> bool:
        return time.monotonic() < self._is_written_until


def _writes_to_file(session: Any) -> FileChanges | None:
    [[_, _, file]] = session.execute("SELECT * FROM pragma_database_list WHERE name = 'main'").fetchall()
    try:
        return FileChanges([name for name in (file, f"{file}-wal") if os.path.exists(name)])
    except OSError as error:
        logger.debug("The worker looks for new jobs every %s s: %s", LOOK_AT_VERSION_EVERY, error)
        return None


class Notifications(Watch):
    """Listens to PostgreSQL's notifications, on the connection of the queue."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self._session: Any = connection.connection
        self._has_heard = False
        self._look_again_at = math.inf
        self.fd: int = self._session.fileno()
        self._session.add_notify_handler(lambda _: self._hear())
        with connection.wrap_database_errors:
            self._session.execute(f"LISTEN {CHANNEL}")

    @property
    def pause(self) -> float:  # type: ignore[override]
        return max(self._look_again_at - time.monotonic(), 0)

    def has_news(self) -> bool:
        self._read()
        if self._has_heard:
            self._has_heard = False
            # An enqueue just after a notification sends none.
            self._look_again_at = time.monotonic() + 2 * NOTIFY_EVERY
            return True
        if time.monotonic() < self._look_again_at:
            return False
        self._look_again_at = math.inf
        return True

    def arrive(self) -> bool:
        """Whether a notification of another connection arrives: a pooler may hold them back."""
        channel = f"{CHANNEL}_{secrets.token_hex(8)}"
        other = connections.create_connection(self._connection.alias)
        with self._connection.wrap_database_errors:
            self._session.execute(f"LISTEN {channel}")
            try:
                with other.cursor() as cursor:
                    cursor.execute(f"NOTIFY {channel}")
            finally:
                other.close()
            select.select([self.fd], [], [], ARRIVES_WITHIN)
            self._read()
            # Look before the next statement, as its answer brings what a pooler has held back.
            arrived = self._has_heard
            self._session.execute(f"UNLISTEN {channel if arrived else '*'}")
        return arrived

    def _read(self) -> None:
        with self._connection.wrap_database_errors:
            self._session.pgconn.consume_input()
            while self._session.pgconn.notifies():
                self._hear()

    def _hear(self) -> None:
        self._has_heard = True


_notified_at = -math.inf  # on the monotonic clock


def take_turn() -> bool:
    """Whether the last notification of this process is NOTIFY_EVERY old; if so, the caller notifies now."""
    global _notified_at
    now = time.monotonic()
    if now - _notified_at < NOTIFY_EVERY:
        return False
    _notified_at = now
    return True
