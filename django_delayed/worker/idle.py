"""The sleep of an idle worker, which ends when rows are written."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.db import Error, connections

from ..conf import settings
from ..databases import Watch, database
from ..databases.sessions import close_broken
from ..databases.watches import LOOK_EVERY
from .shutdown import Shutdown
from .wakeup import Wakeup


class Idle:
    """Sleeps, and watches the queue over the connection of the queue.

    `ask` runs a statement; `is_one_due` is the statement for databases that do not tell of new rows.
    """

    def __init__(
        self,
        wakeup: Wakeup,
        shutdown: Shutdown,
        ask: Callable[[Callable[[], Any]], Any],
        is_one_due: Callable[[], bool],
    ) -> None:
        self._wakeup = wakeup
        self._shutdown = shutdown
        self._ask = ask
        self._is_one_due = is_one_due
        # The watch, and the session on which it was begun.
        self._watch: Any = None
        self._session: Any = None

    def sleep(self, seconds: float, is_one_due: bool = False) -> None:
        """Sleep at most this long; less when rows are written, a signal arrives or a statement fails.

        `is_one_due` says whether a row is due that others keep from being claimed.
        """
        try:
            was_woken = self._sleep_until(time.monotonic() + seconds, is_one_due)
        except Error:
            # The next claim should meet the error too, and report it. If not, this repeats, with a pause.
            self._wakeup.wait(min(seconds, LOOK_EVERY))
            was_woken = True
        if was_woken:
            # Perhaps by the end of the connection. Only a statement finds that out.
            close_broken(connections[settings.DATABASE])

    def _sleep_until(self, end: float, is_one_due: bool) -> bool:
        """Whether the sleep ended before its time."""
        watch: Watch = self._ask(self._current_watch)
        watch.begin(is_one_due)
        while (left := end - time.monotonic()) > 0 and not self._shutdown.requested:
            if self._ask(watch.has_news) or self._wakeup.wait(min(left, watch.pause), watch.fd):
                return True
        return False

    def _current_watch(self) -> Watch:
        connection = connections[settings.DATABASE]
        connection.ensure_connection()
        if self._session is not connection.connection:
            self._session = connection.connection
            self._watch = database(connection).watch(self._is_one_due)
        return self._watch
