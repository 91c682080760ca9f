"""What a worker does when nothing could be claimed: it asks when the next row is due, and waits for it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..models import all_rows
from .activity import Activity
from .availability import LONGEST_PAUSE
from .configuration import Configuration
from .idle import Idle
from .shutdown import Shutdown
from .statements import Statements
from .turns import Turns
from .wakeup import Wakeup

logger = logging.getLogger("django_delayed")

SHORTEST_SLEEP = 0.01  # seconds


class Waiting:
    """Waits in one thread of a worker; `on_empty` is called when the queue is found empty after work."""

    def __init__(
        self,
        configuration: Configuration,
        statements: Statements,
        wakeup: Wakeup,
        shutdown: Shutdown,
        activity: Activity,
        turns: Turns,
        on_empty: Callable[[], object],
    ) -> None:
        self._configuration = configuration
        self._statements = statements
        self._wakeup = wakeup
        self._shutdown = shutdown
        self._activity = activity
        self._turns = turns
        self._on_empty = on_empty
        self._idle = Idle(wakeup, shutdown, statements.ask, self.is_one_due)
        self._empty_claims = 0  # one after the other, although a row was due

    def has_claimed(self) -> None:
        """Note that the worker has rows."""
        self._empty_claims = 0

    def is_one_due(self) -> bool:
        """Whether a row that this worker serves is due."""
        due_in = self._due_in()
        return due_in is not None and due_in <= 0

    def wait(self) -> None:
        """Sleep until a row is due or written, a signal arrives, or the sleep delay is over."""
        # The claim has just read when the next row is due.
        due_in = self._due_in(recent=SHORTEST_SLEEP * 10)
        delay = self._configuration.sleep_delay.total_seconds() or LONGEST_PAUSE
        if due_in is not None:
            # The row is due but locked by another worker or transaction; back off before looking again.
            self._empty_claims = self._empty_claims + 1 if due_in <= 0 else 0
            delay = min(delay, max(due_in, SHORTEST_SLEEP * 2 ** min(self._empty_claims, 20)))
        logger.debug("Sleeping for %.1f seconds", delay)
        if self._configuration.sleep_delay:
            self._idle.sleep(delay, is_one_due=due_in is not None and due_in <= 0)
        else:
            self._wakeup.wait(delay)

    def _due_in(self, recent: float = 0.0) -> float | None:
        filters = self._configuration.filters
        statements = self._statements
        due_in = statements.until_stopped(
            lambda: statements.ask(lambda: all_rows().next_due(filters, recent))
        )
        is_empty = (due_in is None or due_in > 0) and self._turns.no_other_performs
        if is_empty and self._activity.is_working and not self._shutdown.requested:
            self._activity.end_work()
            statements.ask(self._on_empty)
        return due_in
