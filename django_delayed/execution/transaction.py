"""The transaction of a job with `atomic = True`: it commits what the job writes and its move, or neither."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.db import Error, connections, transaction
from django.db.transaction import TransactionManagementError

from ..conf import settings
from ..databases.sessions import close_broken
from ..exceptions import JobInterrupted, JobTimeout
from ..jobs import Job
from ..models import DelayedJob, all_rows
from ..reports import reporting
from ..serialization.errors import begin_at_application
from ..signals import fields_of
from .deadline import run_within
from .outcomes import Finished, Released
from .session import Session

logger = logging.getLogger("django_delayed")


class JobTransaction:
    """The transaction of one attempt, on the job's own connection to the database of the queue.

    The move is its last statement, guarded by the claim as every move is: a worker that has lost the job
    meanwhile commits nothing of what it did. A row that was never saved has no move.
    """

    def __init__(self, job: Job, row: DelayedJob, session: Session) -> None:
        self._job = job
        self._row = row
        self._session = session
        self._is_moved: bool | None = None  # None: that was not tried

    def run(self, perform: Callable[[], object]) -> None:
        """Call the function, move the row, commit. Raises the errors of all three.

        An error of the commit is ambiguous, so `outcome_after` has to be called after each error.
        """
        with transaction.atomic(using=settings.DATABASE):
            expected = self._session.open_blocks()
            try:
                run_within(self._job.run_time, self._row.name, perform)
            except (JobTimeout, JobInterrupted):
                self._session.break_off()
                raise
            self._session.check_transactions(expected)
            if self._row.pk is not None:
                self._move()

    def outcome_after(self, error: BaseException, duration: float) -> Finished | Released | None:
        """The outcome of an attempt in which this was raised; None when it is an error of the job.

        It is no error of the job if the row was moved all the same, because the answer to the COMMIT was lost
        or code that ran after it raised the error. Nor is it one if the claim was lost before.
        """
        if self._is_moved is None:
            return None
        # This rolls back what is open, so that it keeps no row locked.
        self._session.disconnect()
        is_held = self._is_held()
        if is_held:
            return None
        if is_held is None or not self._is_moved:
            # This move is guarded, too: if the claim is lost, it changes nothing and says so.
            return Released()
        begin_at_application(error)
        what = "%s was committed with all that it wrote, but an error was raised afterwards"
        with reporting(self._row):
            logger.error(what, self._row, exc_info=error, extra=fields_of(self._row))
        return Finished(self._job, duration, is_moved=True)

    def _move(self) -> None:
        self._is_moved = all_rows().finish(self._row)
        if not self._is_moved:
            # If the claim is lost, `outcome_after` ignores this error.
            raise TransactionManagementError(
                f"On the connection of the job, {settings.DATABASE!r}, its row was not found: a job with"
                " atomic = True must restore the schema, the role and the tables there before it ends."
            )

    def _is_held(self) -> bool | None:
        """Whether the claim is still the valid one; None when the database cannot be asked."""
        held = all_rows().held(self._row).values_list("pk")
        try:
            with self._session.outside():
                close_broken(connections[settings.DATABASE])
                with transaction.atomic(using=settings.DATABASE):
                    # With a lock: the server may still be busy with the COMMIT of a lost connection.
                    return bool(list(held.select_for_update()))
        except Error:
            return None
