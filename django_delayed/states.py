"""The states of a delayed job, and every move between them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import connections, models, router, transaction
from django.db.models import DurationField, F, Q, Value
from django.db.models.functions import Coalesce, Greatest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from . import claiming
from .conf import settings
from .databases import Database, DatabaseNow, Filters, database
from .fields import ClaimableField
from .serialization.errors import ErrorText
from .serialization.records import about_of

if TYPE_CHECKING:
    from .models import DelayedJob

# Moving 200,000 rows in one transaction keeps all of them locked for seconds.
ROWS_A_TRANSACTION = 500
UNLOCKED: dict[str, Any] = {"locked_at": None, "locked_by": "", "started_at": None}
NUMBERS = ("priority", "attempts", "crashes", "max_attempts")
WHY_SET_ASIDE = "A column of this row had a value that cannot be read; its numbers and times were reset."
UNREADABLE = ErrorText("UnreadableRow", WHY_SET_ASIDE, WHY_SET_ASIDE, "unreadable row")
HELD = Q(locked_at__isnull=False, failed_at__isnull=True, finished_at__isnull=True)

Statement = Callable[[], object]

logger = logging.getLogger("django_delayed")


class State(models.TextChoices):
    """Where a delayed job stands; read from its timestamps, never stored."""

    SCHEDULED = "scheduled", _("scheduled")
    ENQUEUED = "enqueued", _("enqueued")
    RUNNING = "running", _("running")
    RETRYING = "retrying", _("retrying")
    FAILED = "failed", _("failed")
    FINISHED = "finished", _("finished")


def _is_ahead(row: DelayedJob) -> bool:
    run_at: Any = row.run_at
    # Until its INSERT, a row with a `wait` has the expression and not yet the time. It is None if the
    # database has something that is no time, which SQLite and MariaDB can be made to store.
    return bool(run_at.plus if isinstance(run_at, DatabaseNow) else run_at and run_at > timezone.now())


# Each state as a condition on columns and as one on a row. No row meets two of the former; of the latter, the
# first that a row meets is its state.
STATES: dict[State, tuple[Q, Callable[[Any], bool]]] = {
    State.FINISHED: (Q(finished_at__isnull=False), lambda row: row.finished_at is not None),
    State.FAILED: (
        Q(failed_at__isnull=False, finished_at__isnull=True),
        lambda row: row.failed_at is not None,
    ),
    State.RUNNING: (HELD, lambda row: row.locked_at is not None),
    State.RETRYING: (Q(ClaimableField.condition, attempts__gt=0), lambda row: row.attempts > 0),
    State.SCHEDULED: (Q(ClaimableField.condition, attempts=0, run_at__gt=DatabaseNow()), _is_ahead),
    State.ENQUEUED: (
        Q(ClaimableField.condition, attempts=0, run_at__lte=DatabaseNow()),
        lambda row: True,
    ),
}


def _failed_now() -> dict[str, Any]:
    """The times of a row that fails now."""
    kept = settings.KEEP_FAILED_FOR
    return {"failed_at": DatabaseNow(), "expires_at": None if kept is None else DatabaseNow(plus=kept)}


def batches(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """The ids in parts that one transaction may move."""
    for start in range(0, len(ids), ROWS_A_TRANSACTION):
        yield ids[start : start + ROWS_A_TRANSACTION]


class DelayedJobQuerySet(models.QuerySet["DelayedJob"]):
    """Delayed jobs, selected by their state and moved by these verbs alone.

    The worker's moves are guarded by the claim: once it is lost, they change nothing and return False. `also`
    are statements to run in the transaction of the move, after it and only if it is made.
    """

    @property
    def db(self) -> str:
        """The alias that rows are written to. Unless `using` names another, they are read from there too.

        A router may read models from a replica: the queue there lags behind, and a move made there is lost.
        """
        hints = self._hints  # type: ignore[attr-defined]
        return self._db or router.db_for_write(self.model, **hints)  # type: ignore[attr-defined]

    # Exactly one of these six a row.

    def in_state(self, state: State) -> DelayedJobQuerySet:
        """Rows in this state."""
        condition, _ = STATES[state]
        return self.filter(condition)

    def scheduled(self) -> DelayedJobQuerySet:
        """Never tried, and its run_at is ahead."""
        return self.in_state(State.SCHEDULED)

    def enqueued(self) -> DelayedJobQuerySet:
        """Never tried, and due."""
        return self.in_state(State.ENQUEUED)

    def retrying(self) -> DelayedJobQuerySet:
        """Tried without success and waiting for the next attempt, due or not."""
        return self.in_state(State.RETRYING)

    def running(self) -> DelayedJobQuerySet:
        """Held by a worker."""
        return self.in_state(State.RUNNING)

    def failed(self) -> DelayedJobQuerySet:
        """Given up; an operator may retry or discard it."""
        return self.in_state(State.FAILED)

    def finished(self) -> DelayedJobQuerySet:
        """Performed, and kept for a while."""
        return self.in_state(State.FINISHED)

    # Across states.

    def waiting(self) -> DelayedJobQuerySet:
        """To be claimed now or later: scheduled, enqueued or retrying."""
        return self.filter(ClaimableField.condition)

    def ready(self) -> DelayedJobQuerySet:
        """Waiting and due."""
        return self.waiting().filter(run_at__lte=DatabaseNow())

    def not_due(self) -> DelayedJobQuerySet:
        """Waiting, and its run_at is ahead."""
        return self.waiting().filter(run_at__gt=DatabaseNow())

    def about(self, instance: models.Model) -> DelayedJobQuerySet:
        """Jobs about this instance: called on it, or with it as the first instance among their arguments.

        Raises TypeError for what is not a saved model instance.
        """
        if not isinstance(instance, models.Model) or instance.pk is None or instance._state.adding:
            raise TypeError(f"about() takes a saved model instance, not {instance!r}.")
        about = about_of(instance)
        return self.filter(about=about) if about else self.none()

    # The worker's moves.

    def claim(self, worker: str, limit: int = 1, filters: Filters = Filters()) -> list[DelayedJob]:
        """ready → running: at most `limit` rows for the worker of this id; counts the attempt."""
        return claiming.claim(self, worker, limit, filters)

    def next_due(self, filters: Filters = Filters()) -> float | None:
        """Seconds until the first row that these filters serve is due, None when none waits."""
        return claiming.next_due(self, filters)

    def held(self, row: DelayedJob) -> DelayedJobQuerySet:
        """The row, while the claim by which this worker got it is the valid one."""
        return self.filter(pk=row.pk, locked_by=row.locked_by, lock_token=row.lock_token)

    def finish(self, row: DelayedJob, also: Iterable[Statement] = ()) -> bool:
        """running → finished, or gone when it is not to be kept."""
        if row.keep_for is None:
            return self._remove(row, also)
        times = {"finished_at": DatabaseNow(), "expires_at": DatabaseNow(plus=row.keep_for)}
        kept = {"started_at": row.started_at or row.locked_at, "crashes": 0, "result": row.result}
        return self._update(row, kept | times, also)

    def reschedule(
        self, row: DelayedJob, error: ErrorText, wait: timedelta, also: Iterable[Statement] = ()
    ) -> bool:
        """running → retrying, due `wait` from now: the attempt failed."""
        return self._record(row, error, {"run_at": DatabaseNow(plus=wait), "crashes": 0}, also)

    def snooze(self, row: DelayedJob, wait: timedelta, also: Iterable[Statement] = ()) -> bool:
        """running → scheduled or retrying, due `wait` from now, without counting the attempt."""
        uncounted = {"attempts": F("attempts") - 1, "crashes": 0}
        return self._update(row, {"run_at": DatabaseNow(plus=wait), **uncounted}, also)

    def fail(self, row: DelayedJob, error: ErrorText, also: Iterable[Statement] = ()) -> bool:
        """running → failed: the job is given up."""
        return self._record(row, error, {**_failed_now(), "crashes": 0}, also)

    def discard_held(self, row: DelayedJob, also: Iterable[Statement] = ()) -> bool:
        """running → gone: the job is not tried again, and its row is not kept."""
        return self._remove(row, also)

    def crash(
        self, row: DelayedJob, error: ErrorText, wait: timedelta | None, also: Iterable[Statement] = ()
    ) -> bool:
        """running → retrying, or failed without a `wait`: the worker's process died in this attempt."""
        when = _failed_now() if wait is None else {"run_at": DatabaseNow(plus=wait)}
        return self._record(row, error, {**when, "crashes": row.crashes + 1}, also)

    def release(self, rows: Iterable[DelayedJob]) -> int:
        """running → ready, without counting the attempt: it was interrupted, or never began.

        Returns how many. A row whose claim is lost stays as it is.
        """
        by_claim: dict[tuple[str, int], list[int]] = {}
        for row in rows:
            by_claim.setdefault((row.locked_by, row.lock_token), []).append(row.pk)
        return sum(
            self.filter(pk__in=ids, locked_by=worker, lock_token=token)._release()
            for (worker, token), ids in by_claim.items()
        )

    def release_claim(self, worker: str, token: int) -> int:
        """As `release`, for all rows of one claim, none of which is read. Returns how many."""
        return self.filter(locked_by=worker, lock_token=token).running()._release()

    def set_aside(self, ids: Sequence[int]) -> int:
        """Any state → failed, for rows that no worker can read. Returns how many.

        An UPDATE by hand may have written a time or a number that Python has not; the row gets others.
        """
        logger.error("The rows %s of delayed jobs cannot be read; they are set aside as failed", list(ids))
        times = {**dict.fromkeys(("run_at", "created_at"), DatabaseNow()), **_failed_now()}
        numbers = {name: getattr(self.model(), name) for name in NUMBERS}
        failed = {**UNLOCKED, **times, **numbers, **UNREADABLE.columns}
        return self._repeat_on_conflict(lambda: self.filter(pk__in=ids).update(**failed))

    def release_unstarted(self, worker: str, current: int, age: timedelta) -> int:
        """Note that a job of a batch began `age` ago, and release what was claimed together with it.

        Returns how many were released.
        """
        held = self.running().filter(locked_by=worker, started_at=None)
        batch = {row.pk: row for row in held.only("locked_by", "lock_token")}
        # It has started_at already when it was claimed alone, or was noted before.
        if not (row := batch.pop(current, None)):
            return 0
        released = self.release(batch.values())
        self._repeat_on_conflict(lambda: self.held(row).update(started_at=DatabaseNow(plus=-age)))
        return released

    # The operator's moves, on the rows of this query.

    def retry(self, keep_for: timedelta | None = None) -> int:
        """failed → ready, with all attempts before it; the errors so far are kept. Returns how many.

        With `keep_for`, a row stays that long, or longer, after its job was performed. Logs a warning if
        there are rows and none of them has failed: `run_now` is for those that wait.
        """
        fresh = {"failed_at": None, "expires_at": None, "attempts": 0, "crashes": 0, **self._kept(keep_for)}
        moved = self._make_due(self.failed(), fresh)
        # Not merely rows: one of a query of failed ones may have failed just now.
        if not moved and self.filter(failed_at=None).exists():
            logger.warning("retry() moved no job: none of them has failed. run_now() is for waiting jobs.")
        return moved

    def run_now(self, keep_for: timedelta | None = None) -> int:
        """waiting → due; the attempts stay counted, and `keep_for` is as for `retry`. Returns how many."""
        return self._make_due(self.not_due(), self._kept(keep_for))

    def discard(self) -> int:
        """Any state but running → gone. Returns how many."""
        return self._discard(~HELD)

    def discard_batch(self, ids: Sequence[int], only: Q = ~HELD) -> int:
        """As `discard`, in one transaction, for those rows of these ids that meet the condition then."""
        return self._repeat_on_conflict(lambda: self._remove_those(ids, only))

    def prune(self) -> int:
        """Remove the rows whose `expires_at` has passed. Returns how many."""
        return self._discard(~HELD & Q(expires_at__lte=DatabaseNow()))

    # How they are written.

    def update(self, **columns: Any) -> int:
        """As Django's; `claimable` follows the timestamps."""
        if "claimable" not in columns and columns.keys() & ClaimableField.times:
            columns["claimable"] = ClaimableField.after(columns)
        return super().update(**columns)

    update.alters_data = True  # type: ignore[attr-defined]

    @property
    def _database(self) -> Database:
        return database(connections[self.db])

    def _repeat_on_conflict(self, statement: Callable[[], Any]) -> Any:
        return self._database.repeat_on_conflict(statement)

    def _move(self, write: Callable[[], bool], also: Sequence[Statement]) -> bool:
        """Write a move, and the statements that belong to it if it is made; all of it or nothing."""

        def move() -> bool:
            if not also:
                return write()
            with transaction.atomic(using=self.db):
                if not write():
                    return False
                for statement in also:
                    statement()
                return True

        return bool(self._repeat_on_conflict(move))

    def _update(self, row: DelayedJob, columns: dict[str, Any], also: Iterable[Statement]) -> bool:
        return self._move(lambda: bool(self.held(row).update(**{**UNLOCKED, **columns})), [*also])

    def _record(
        self, row: DelayedJob, error: ErrorText, columns: dict[str, Any], also: Iterable[Statement]
    ) -> bool:
        """Move a held row after a failed attempt, and write down the attempt."""
        return self._update(row, columns | error.columns, [lambda: self._attempts.record(row, error), *also])

    def _remove(self, row: DelayedJob, also: Iterable[Statement]) -> bool:
        # A job that never failed has no failed attempts: the statement is saved for most jobs.
        attempts = [lambda: self._attempts.filter(delayed_job=row.pk)._raw_delete(self.db)]
        return self._move(lambda: self._delete(row), [*(attempts if row.last_error else ()), *also])

    def _delete(self, row: DelayedJob) -> bool:
        # Not QuerySet.delete(): it deletes by id what it selected, even if it was claimed since.
        with connections[self.db].cursor() as cursor:
            cursor.execute(
                f"DELETE FROM {self._database.table_of(self.model)}"
                " WHERE id = %s AND locked_by = %s AND lock_token = %s",
                [row.pk, row.locked_by, row.lock_token],
            )
            return bool(cursor.rowcount)

    def _make_due(self, rows: DelayedJobQuerySet, columns: dict[str, Any]) -> int:
        moved: int = self._repeat_on_conflict(lambda: rows.update(**columns, run_at=DatabaseNow()))
        self._database.wake_workers()
        return moved

    def _kept(self, keep_for: timedelta | None) -> dict[str, Any]:
        least = Value(keep_for, DurationField())
        return {"keep_for": Greatest(Coalesce("keep_for", least), least)} if keep_for else {}

    def _release(self) -> int:
        return self._repeat_on_conflict(lambda: self.update(**UNLOCKED, attempts=F("attempts") - 1))

    def _discard(self, only: Q) -> int:
        found = self.filter(only).values_list("pk", flat=True)
        ids: list[int] = self._repeat_on_conflict(lambda: list(found.all()))
        # The condition once more: an operator may have retried one of them since.
        return sum(self.discard_batch(batch, only) for batch in batches(ids))

    def _remove_those(self, ids: Sequence[int], only: Q) -> int:
        """Remove those of these rows that meet the condition, with their attempts; returns how many."""
        rows = self.model._base_manager.using(self.db).filter(pk__in=ids)
        with transaction.atomic(using=self.db):
            removed: int = rows.filter(only)._raw_delete(self.db)
            gone = set(ids).difference(rows.values_list("pk", flat=True))
            self._attempts.filter(delayed_job__in=gone)._raw_delete(self.db)
        return removed

    @property
    def _attempts(self) -> Any:
        attempts: Any = self.model._meta.get_field("failed_attempts").related_model
        return attempts.objects.using(self.db)
