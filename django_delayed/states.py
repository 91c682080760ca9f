"""The states of a delayed job, and every move between them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connections, models, router, transaction
from django.db.models import DurationField, F, Q, TextField, Value
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce, Concat, Greatest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from . import claiming
from .conf import bounded_duration, settings
from .databases import Database, DatabaseNow, Filters, Removal, database, parts, remove_locked
from .features.unique.holding import move_with_keys, plain_among, unique_among
from .features.unique.keys import PUT_TO_NOW
from .fields import ClaimableField
from .options import check_columns
from .serialization.errors import ErrorText, storable
from .serialization.records import about_of

if TYPE_CHECKING:
    from .models import DelayedJob

# Moving 200,000 rows in one transaction keeps all of them locked for seconds.
ROWS_A_TRANSACTION = 500
UNLOCKED: dict[str, Any] = {"locked_at": None, "locked_by": "", "started_at": None}
NUMBERS = ("priority", "attempts", "crashes", "max_attempts")
WHY_SET_ASIDE = "A column of this row had a value that cannot be read; its numbers and times were reset."
UNREADABLE = ErrorText("UnreadableRow", WHY_SET_ASIDE, WHY_SET_ASIDE, "unreadable row")
# The error fingerprint of jobs that an operator has ended while they ran: they have no cause to repair.
CANCELLED = "cancelled"
# A bit of `extras`: a worker died while it performed this job and others; any of them may be the cause.
SUSPECT = 4
# Another one: the job has cursors, of its iterations or steps.
CURSORS = 16
HELD = Q(locked_at__isnull=False, failed_at__isnull=True, finished_at__isnull=True)

Statement = Callable[[], object]

logger = logging.getLogger("django_delayed")


class State(models.TextChoices):
    """The state of a delayed job. It is read from the timestamps of the row, and never stored."""

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
    now = timezone.now() + Database.ahead
    return bool(run_at.plus if isinstance(run_at, DatabaseNow) else run_at and run_at > now)


# Each state as a condition on columns and as one on a row. No row meets two of the conditions on columns. Of
# the conditions on a row, the first that it meets is its state.
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


def _finished_now(row: DelayedJob, keep_for: timedelta) -> dict[str, Any]:
    """The columns of a row that is kept when its job has been performed, except the result."""
    times = {"finished_at": DatabaseNow(), "expires_at": DatabaseNow(plus=keep_for)}
    return {**times, "started_at": row.started_at or row.locked_at, "crashes": 0}


def _results_of(rows: Iterable[DelayedJob]) -> RawSQL:
    # Django's own Case takes ten times as long to build.
    params: list[Any] = [value for row in rows for value in (row.pk, row.result)]
    return RawSQL(f"CASE id {'WHEN %s THEN %s ' * (len(params) // 2)}END", params)


def _checked_name(by: Any, verb: str) -> str:
    if not isinstance(by, str):
        raise TypeError(f"{verb}(by=…) must be the name of the operator, not {type(by).__name__}.")
    return by


def batches(ids: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The ids in parts that one transaction may move."""
    return parts(ids, ROWS_A_TRANSACTION)


class CancelCounts(NamedTuple):
    """How many waiting jobs were removed, and how many running ones were asked to end."""

    removed: int
    asked: int


class DelayedJobQuerySet(models.QuerySet["DelayedJob"]):
    """Delayed jobs, selected by their state, and changed by these methods only.

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

    # Each row is in exactly one of these six.

    def in_state(self, state: State) -> DelayedJobQuerySet:
        """Rows in this state."""
        condition, _ = STATES[state]
        return self.filter(condition)

    def scheduled(self) -> DelayedJobQuerySet:
        """Never tried, and its run_at is in the future."""
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
        """Waiting, and its run_at is in the future."""
        return self.waiting().filter(run_at__gt=DatabaseNow())

    def about(self, instance: models.Model) -> DelayedJobQuerySet:
        """Jobs about this instance: called on it, or with it as the first instance among their arguments.

        Raises TypeError for anything but a saved model instance.
        """
        if not isinstance(instance, models.Model) or instance.pk is None or instance._state.adding:
            raise TypeError(f"about() takes a saved model instance, not {instance!r}.")
        about = about_of(instance)
        return self.filter(about=about) if about else self.none()

    # The worker's moves.

    def claim(
        self,
        worker: str,
        limit: int = 1,
        filters: Filters = Filters(),
        recent: float = 0.0,
        removal: Removal | None = None,
    ) -> list[DelayedJob]:
        """ready → running: at most `limit` rows for the worker of this id; counts the attempt.

        Rows that came into another lane less than `recent` seconds ago may be left for the next claim.
        The removal is running → gone, as by `finish_together`; it says itself whether it was made.
        """
        return claiming.claim(self, worker, limit, filters, recent, removal)

    def next_due(self, filters: Filters = Filters(), recent: float = 0.0) -> float | None:
        """Seconds until the first row that these filters serve is due, None when none waits.

        A list of lanes less than `recent` seconds old is used again, unless a claim has emptied lanes of it.
        """
        return claiming.next_due(self, filters, recent)

    def held(self, row: DelayedJob) -> DelayedJobQuerySet:
        """The row, while the claim by which this worker got it is the valid one."""
        return self.filter(pk=row.pk, locked_by=row.locked_by, lock_token=row.lock_token)

    def finish(self, row: DelayedJob, also: Iterable[Statement] = ()) -> bool:
        """running → finished, or gone when it is not to be kept."""
        if row.keep_for is None:
            return self._remove(row, also)
        kept = {**_finished_now(row, row.keep_for), "result": row.result}
        return self._update(row, kept, [*self._forget_cursors(row), *also])

    def reschedule(
        self, row: DelayedJob, error: ErrorText, wait: timedelta, also: Iterable[Statement] = ()
    ) -> bool:
        """running → retrying, due `wait` from now: the attempt failed."""
        return self._record(row, error, {"run_at": DatabaseNow(plus=wait), "crashes": 0}, also)

    def finish_together(self, worker: str, token: int, ids: Sequence[int]) -> set[int]:
        """running → gone, for rows of one claim that leave nothing behind. Returns the ids of those removed.

        It can be called again after an error: a row that is gone stays gone.
        """
        table = self._database.table_of(self.model)
        return self._repeat_on_conflict(lambda: self._database.remove_held(table, worker, token, ids))

    def keep_together(self, rows: Sequence[DelayedJob]) -> set[int]:
        """running → finished, for rows of one claim that are kept equally long and have the same extras.

        Returns the ids of those that are finished now.
        """
        row, ids = rows[0], [row.pk for row in rows]
        kept = {**UNLOCKED, **_finished_now(row, row.keep_for or timedelta(0))}
        if (results := {row.result for row in rows}) != {""}:
            kept["result"] = row.result if len(results) == 1 else _results_of(rows)
        guard = {"locked_by": row.locked_by, "lock_token": row.lock_token, "extras": row.extras}
        held = self.filter(pk__in=ids, **guard)
        if self._repeat_on_conflict(lambda: held.update(**kept)) == len(ids):
            return set(ids)
        return set(self.finished().filter(pk__in=ids).values_list("pk", flat=True))

    def snooze(self, row: DelayedJob, wait: timedelta, also: Iterable[Statement] = ()) -> bool:
        """running → scheduled or retrying, due `wait` from now, without counting the attempt."""
        uncounted = {"attempts": F("attempts") - 1, "crashes": 0}
        return self._update(row, {"run_at": DatabaseNow(plus=wait), **uncounted}, also)

    def fail(self, row: DelayedJob, error: ErrorText, also: Iterable[Statement] = ()) -> bool:
        """running → failed: the job is given up."""
        return self._record(row, error, {**_failed_now(), "crashes": 0}, also)

    def cancel_held(self, row: DelayedJob, error: ErrorText, also: Iterable[Statement] = ()) -> bool:
        """running → failed: an operator has ended the job."""
        return self.fail(row, error, also)

    def discard_held(self, row: DelayedJob, also: Iterable[Statement] = ()) -> bool:
        """running → gone: the job is not tried again, and its row is not kept."""
        return self._remove(row, also)

    def crash(
        self, row: DelayedJob, error: ErrorText, wait: timedelta | None, also: Iterable[Statement] = ()
    ) -> bool:
        """running → retrying, or failed without a `wait`: the worker's process died in this attempt."""
        when = _failed_now() if wait is None else {"run_at": DatabaseNow(plus=wait)}
        return self._record(row, error, {**when, "crashes": row.crashes + 1}, also)

    def suspect(self, row: DelayedJob) -> bool:
        """running → ready, without counting the attempt: its worker's process died in it or in another job.

        It runs alone next.
        """
        return self._update(row, {"attempts": F("attempts") - 1, "extras": row.extras | SUSPECT}, ())

    def interrupt(self, row: DelayedJob, also: Iterable[Statement] = ()) -> bool:
        """running → ready, without counting the attempt: its worker's process died, and it goes on."""
        return self._update(row, {"attempts": F("attempts") - 1, "crashes": 0}, also)

    def mark_held(self, row: DelayedJob, bit: int) -> bool:
        """Set a bit of `extras` of a running row, which is locked until the end of the transaction."""
        return bool(self.held(row).update(extras=F("extras").bitor(bit)))

    def release(self, rows: Iterable[DelayedJob]) -> int:
        """running → ready, without counting the attempt: it was interrupted, or never began.

        Returns how many. A row that has lost its claim stays as it is.
        """
        by_claim: dict[tuple[str, int], list[int]] = {}
        for row in rows:
            by_claim.setdefault((row.locked_by, row.lock_token), []).append(row.pk)
        return sum(
            self.filter(pk__in=ids, locked_by=worker, lock_token=token)._release()
            for (worker, token), ids in by_claim.items()
        )

    def release_claim(self, worker: str, token: int) -> int:
        """As `release`, for all rows of one claim, without reading them. Returns how many."""
        return self.filter(locked_by=worker, lock_token=token).running()._release()

    def set_aside(self, ids: Sequence[int]) -> int:
        """Any state → failed, for rows that no worker can read. Returns how many.

        An UPDATE by hand may have written a time or a number that Python cannot hold; the row gets new ones.
        """
        logger.error("The rows %s of delayed jobs cannot be read; they are set aside as failed", list(ids))
        times = {**dict.fromkeys(("run_at", "created_at"), DatabaseNow()), **_failed_now()}
        numbers = {name: getattr(self.model(), name) for name in NUMBERS}
        failed = {**UNLOCKED, **times, **numbers, **UNREADABLE.columns}
        return self._repeat_on_conflict(lambda: self.filter(pk__in=ids).update(**failed))

    def release_unstarted(self, worker: str, token: int, current: int, age: timedelta) -> int:
        """Note that a job of a claim began `age` ago, and release what was claimed together with it.

        Call it in a transaction. Returns how many were released. A row that is locked stays as it is: a
        worker may hang at the commit of an atomic job, and must not hold up its supervisor.
        """
        # The job has a started_at already if it was claimed alone, or noted before.
        unstarted = self.running().filter(locked_by=worker, lock_token=token, started_at=None)
        ids = set(unstarted.select_for_update(skip_locked=True).values_list("pk", flat=True))
        if current in ids:
            self.filter(pk=current).update(started_at=DatabaseNow(plus=-age))
            ids.remove(current)
        return self.filter(pk__in=ids)._release() if ids else 0

    # The operator's moves, on the rows of this query.

    def retry(self, keep_for: timedelta | float | None = None, wait: timedelta | float = 0) -> int:
        """failed → ready in `wait`, with all its attempts again; its errors are kept. Returns how many.

        With `keep_for`, a row stays that long, or longer, after its job was performed. A unique job stays
        failed while an equal one waits. Logs a warning if there are rows and none of them has failed:
        `run_now` is for those that wait. Raises TypeError or ValueError for a span that is not valid.
        """
        columns = {"run_at": DatabaseNow(plus=bounded_duration(wait, "wait")), **self._kept(keep_for)}
        fresh = {"failed_at": None, "expires_at": None, "attempts": 0, "crashes": 0}
        moved = self._make_due(self.failed(), fresh | columns)
        # Not self.exists(): a row in a query of failed ones may have failed just now.
        if not moved and self.filter(failed_at=None).exists():
            logger.warning("retry() moved no job because none has failed. run_now() is for waiting jobs.")
        return moved

    def run_now(self, keep_for: timedelta | float | None = None) -> int:
        """waiting → due; the attempts stay counted, and `keep_for` is as for `retry`. Returns how many.

        A unique job stays as it is while another holds its key.
        """
        return self._make_due(self.not_due(), self._kept(keep_for))

    def adjust(
        self, *, run_at: datetime | None = None, queue: str | None = None, priority: int | None = None
    ) -> int:
        """waiting → waiting, at another time, in another queue or with another priority. Returns how many.

        What is None stays as it is. The attempts stay counted, and a unique job keeps its key. Raises
        TypeError or ValueError for what an enqueue refuses.
        """
        columns = check_columns(run_at=run_at, queue=queue, priority=priority)
        if not columns:
            raise TypeError("adjust() takes run_at, queue or priority, or several of them.")
        if run_at is not None:
            # It no longer has the time that `run_now` has set, so an equal job may replace it.
            columns["extras"] = F("extras").bitand(~PUT_TO_NOW)
        moved: int = self._repeat_on_conflict(lambda: self.waiting().update(**columns))
        self._database.wake_workers()
        return moved

    adjust.alters_data = True  # type: ignore[attr-defined]

    def give_up(self, by: str = "") -> int:
        """retrying → failed, though attempts are left. Returns how many.

        The last error stays, below a line that says who has given up. Raises TypeError for a name that is no
        text.
        """
        line = Value(f"Given up by {storable(_checked_name(by, 'give_up'))[:255] or 'an operator'}.\n\n")
        columns = {**_failed_now(), "last_error": Concat(line, "last_error", output_field=TextField())}
        return self._repeat_on_conflict(lambda: self.retrying().update(**columns))

    give_up.alters_data = True  # type: ignore[attr-defined]

    def discard(self) -> int:
        """Any state but running → gone. Returns how many."""
        return self._discard(~HELD)

    def discard_batch(self, ids: Sequence[int], only: Q = ~HELD) -> int:
        """As `discard`, in one transaction, for those rows of these ids that still meet the condition."""
        return self._repeat_on_conflict(lambda: self._remove_those(ids, only))

    def remove_replaced(self, ids: Sequence[int]) -> None:
        """waiting → gone, for rows that the present transaction has locked: others take their places."""
        remove_locked(connections[self.db], self.model, ids)
        self._remove_beside(ids)

    def cancel(self, by: str = "") -> CancelCounts:
        """waiting → gone; running ones are asked to end, and then fail. Returns how many of each.

        The log says who asks, and so does the error of a job that was ended. A job that has been asked
        already does not count. Raises TypeError for a name that is no text.
        """
        _checked_name(by, "cancel")
        waiting, counts = ClaimableField.condition, CancelCounts(0, 0)
        found = self.filter(waiting | HELD).values_list("pk", flat=True)
        ids: list[int] = self._repeat_on_conflict(lambda: list(found.all()))
        for batch in batches(ids):
            removed = self.discard_batch(batch, waiting)
            asked = self.model.ask_to_end(type(self)(self.model, using=self.db).filter(pk__in=batch), by)
            if removed + asked < len(batch):
                # The attempts of some may have ended in between.
                removed += self.discard_batch(batch, waiting)
            counts = CancelCounts(counts.removed + removed, counts.asked + asked)
        return counts

    cancel.alters_data = True  # type: ignore[attr-defined]

    def prune(self) -> int:
        """Remove the rows that have an `expires_at` in the past. Returns how many."""
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
        # It has run alone, and is no suspect any more.
        cleared = {"extras": row.extras & ~SUSPECT} if row.extras & SUSPECT else {}
        columns = {**UNLOCKED, **cleared, **columns}
        return self._move(lambda: bool(self.held(row).update(**columns)), [*also])

    def _record(
        self, row: DelayedJob, error: ErrorText, columns: dict[str, Any], also: Iterable[Statement]
    ) -> bool:
        """Move a held row after a failed attempt, and write down the attempt."""
        attempts = self._beside("failed_attempts")
        return self._update(row, columns | error.columns, [lambda: attempts.record(row, error), *also])

    def _remove(self, row: DelayedJob, also: Iterable[Statement]) -> bool:
        # A job that never failed has no failed attempts: the statement is saved for most jobs.
        attempts = [self._forgetting("failed_attempts", row)] if row.last_error else []
        beside = [*attempts, *self._forget_cursors(row)]
        return self._move(lambda: self._delete(row), [*beside, *also])

    def _forget_cursors(self, row: DelayedJob) -> list[Statement]:
        return [self._forgetting("cursors", row)] if row.extras & CURSORS else []

    def _forgetting(self, name: str, row: DelayedJob) -> Statement:
        return lambda: self._beside(name).filter(delayed_job=row.pk)._raw_delete(self.db)

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
        columns = {"run_at": DatabaseNow()} | columns
        unique = unique_among(rows).values_list("pk", flat=True)
        ids: list[int] = self._repeat_on_conflict(lambda: list(unique.all()))
        moved = sum(self._make_unique_due(rows, batch, columns) for batch in batches(ids))
        moved += self._repeat_on_conflict(lambda: plain_among(rows).update(**columns))
        self._database.wake_workers()
        return moved

    def _make_unique_due(self, rows: DelayedJobQuerySet, ids: Sequence[Any], columns: dict[str, Any]) -> int:
        """As `_make_due`; a job stays as it is while another holds its key."""
        columns = {**columns, "extras": F("extras").bitor(PUT_TO_NOW)}
        all_rows = self.model._default_manager.using(self.db)

        def move(free: Sequence[int]) -> int:
            return rows.filter(pk__in=free).update(**columns)

        return self._repeat_on_conflict(lambda: move_with_keys(all_rows, ids, move))

    def _kept(self, keep_for: timedelta | float | None) -> dict[str, Any]:
        least = Value(bounded_duration(keep_for or 0, "keep_for"), DurationField())
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
            self._remove_beside(gone)
        return removed

    def _remove_beside(self, ids: Iterable[int]) -> None:
        for name in ("failed_attempts", "cursors"):
            self._beside(name).filter(delayed_job__in=ids)._raw_delete(self.db)

    def _beside(self, name: str) -> Any:
        """The related rows that the model has under this name."""
        beside: Any = self.model._meta.get_field(name).related_model
        return beside.objects.using(self.db)
