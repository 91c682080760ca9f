"""The states of a delayed job by name, and every move between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import connections, models, transaction
from django.db.models import Case, DateTimeField, ExpressionWrapper, F, Q, When

from .databases import Database, Filters, database
from .databases.clock import DatabaseNow
from .tracebacks import ErrorText

if TYPE_CHECKING:
    from .models import DelayedJob

MOST_CRASHES = 3  # a job that kept killing its worker is given up
SECOND_CRASH_WAIT = timedelta(seconds=30)
ATTEMPTS_KEPT = 10
ROWS_A_DELETE = 500  # in one transaction, so that no worker waits long for it
OPEN = Q(failed_at__isnull=True, finished_at__isnull=True)
HELD = OPEN & Q(locked_at__isnull=False)
WAITING = Q(claimable=1)  # a CHECK ties it to the timestamps, and the index of the lanes serves it
LET_GO: dict[str, Any] = {"locked_at": None, "locked_by": "", "started_at": None}


def claimable(times: dict[str, Any]) -> Any:
    """What `claimable` becomes when these of the three timestamps are written and the others stay."""
    if any(times.values()):
        return None
    stay = {
        f"{name}__isnull": True for name in ("locked_at", "failed_at", "finished_at") if name not in times
    }
    return Case(When(**stay, then=1), default=None) if stay else 1


class DelayedJobQuerySet(models.QuerySet["DelayedJob"]):
    """Delayed jobs, asked for by their state and moved by these verbs alone."""

    # Exactly one of these six a row.

    def scheduled(self) -> DelayedJobQuerySet:
        """Never tried, and its run_at is ahead."""
        return self.filter(WAITING, attempts=0, run_at__gt=DatabaseNow())

    def enqueued(self) -> DelayedJobQuerySet:
        """Never tried, and due."""
        return self.filter(WAITING, attempts=0, run_at__lte=DatabaseNow())

    def retrying(self) -> DelayedJobQuerySet:
        """Tried without success, and waiting to be tried again, due or not."""
        return self.filter(WAITING, attempts__gt=0)

    def running(self) -> DelayedJobQuerySet:
        """Held by a worker."""
        return self.filter(HELD)

    def failed(self) -> DelayedJobQuerySet:
        """Given up; an operator may retry or discard it."""
        return self.filter(failed_at__isnull=False, finished_at__isnull=True)

    def finished(self) -> DelayedJobQuerySet:
        """Performed, and kept for a while."""
        return self.filter(finished_at__isnull=False)

    # Across states.

    def ready(self) -> DelayedJobQuerySet:
        """Due, and free to be claimed: enqueued, or retrying and due."""
        return self.filter(WAITING, run_at__lte=DatabaseNow())

    def waiting(self) -> DelayedJobQuerySet:
        """Free to be claimed now or later: scheduled, enqueued or retrying."""
        return self.filter(WAITING)

    # The worker's moves, each guarded by the claim: once that is lost, it changes nothing and returns False.

    def claim(self, worker: str, limit: int = 1, filters: Filters = Filters()) -> list[DelayedJob]:
        """Take at most `limit` ready rows for the worker of this id, and count the attempt."""
        return self._database.claim(worker, limit, filters)

    def next_due(self, filters: Filters = Filters()) -> float | None:
        """Seconds until the first row that these filters serve is due, None when none waits."""
        return self._database.next_due(filters)

    def held(self, job: DelayedJob) -> DelayedJobQuerySet:
        """The row, as long as the claim by which this worker got it is the valid one."""
        return self.filter(pk=job.pk, locked_by=job.locked_by, lock_token=job.lock_token)

    def finish(self, job: DelayedJob, result: str = "") -> bool:
        """running → finished, or gone when it is not to be kept."""
        if job.keep_for is None:
            return self._retrying(lambda: self._remove(job))
        finished: dict[str, Any] = {**LET_GO, "started_at": job.started_at, "crashes": 0}
        return self._retrying(
            lambda: bool(self.held(job).update(**finished, finished_at=DatabaseNow(), result=result))
        )

    def discard_held(self, job: DelayedJob) -> bool:
        """running → gone, on an error that the job's `discard_on` names."""
        return self._retrying(lambda: self._remove(job))

    def reschedule(self, job: DelayedJob, error: ErrorText, wait: timedelta) -> bool:
        """running → retrying, `wait` from the database's now."""
        return self._record(job, error, run_at=DatabaseNow(plus=wait), crashes=0)

    def fail(self, job: DelayedJob, error: ErrorText) -> bool:
        """running → failed."""
        return self._record(job, error, failed_at=DatabaseNow(), crashes=0)

    def crash(self, job: DelayedJob, error: ErrorText) -> bool:
        """running → ready, or failed when attempts or crashes are spent: its worker's process died."""
        crashes = job.crashes + 1
        if job.attempts >= job.max_attempts or crashes >= MOST_CRASHES:
            return self._record(job, error, failed_at=DatabaseNow(), crashes=crashes)
        wait = SECOND_CRASH_WAIT if crashes > 1 else timedelta(0)
        return self._record(job, error, run_at=DatabaseNow(plus=wait), crashes=crashes)

    def release(self, jobs: Iterable[DelayedJob]) -> int:
        """running → ready, with the attempt given back: the job was interrupted, or never began."""
        by_claim: dict[tuple[str, int], list[int]] = {}
        for job in jobs:
            by_claim.setdefault((job.locked_by, job.lock_token), []).append(job.pk)
        return sum(
            self.filter(pk__in=ids, locked_by=worker, lock_token=token)._release()
            for (worker, token), ids in by_claim.items()
        )

    def release_rest(self, worker: str, current: int, age: timedelta) -> int:
        """Note that a job of a batch began `age` ago, and give back what was claimed together with it."""
        held = self.running().filter(locked_by=worker, started_at=None)
        batch = {job.pk: job for job in held.only("locked_by", "lock_token")}
        if not (job := batch.pop(current, None)):  # claimed alone, or looked at before
            return 0
        rest = self.release(batch.values())
        self._retrying(lambda: self.held(job).update(started_at=DatabaseNow(plus=-age)))
        return rest

    def _release(self) -> int:
        return self._retrying(lambda: self.update(**LET_GO, attempts=F("attempts") - 1))

    # The operator's moves, on the rows of this query.

    def retry(self) -> int:
        """failed → ready, from the first attempt on; the errors so far stay. Returns how many."""
        return self._retrying(
            lambda: self.failed().update(failed_at=None, run_at=DatabaseNow(), attempts=0, crashes=0)
        )

    def discard(self) -> int:
        """Any state but running → gone. Returns how many."""
        free = self.exclude(HELD).values_list("pk", flat=True)
        ids: list[int] = self._retrying(lambda: list(free.all()))
        chunks = [ids[start : start + ROWS_A_DELETE] for start in range(0, len(ids), ROWS_A_DELETE)]
        return sum(self._retrying(lambda chunk=chunk: self._remove_free(chunk)) for chunk in chunks)

    def prune(self) -> int:
        """finished → gone, for rows whose `keep_for` has passed. Returns how many."""
        ends = ExpressionWrapper(F("finished_at") + F("keep_for"), output_field=DateTimeField())
        return self.finished().annotate(ends=ends).filter(ends__lte=DatabaseNow()).discard()

    # How they are written.

    def update(self, **columns: Any) -> int:
        """As Django's; `claimable` follows the timestamps by itself."""
        times: dict[str, Any] = {
            name: columns[name] for name in ("locked_at", "failed_at", "finished_at") if name in columns
        }
        if times and "claimable" not in columns:
            columns["claimable"] = claimable(times)
        return super().update(**columns)

    update.alters_data = True  # type: ignore[attr-defined]

    @property
    def _database(self) -> Database:
        return database(connections[self.db], self.model)

    def _retrying(self, move: Any) -> Any:
        return self._database.retrying(move)

    def _remove(self, job: DelayedJob) -> bool:
        held = {"id": job.pk, "locked_by": job.locked_by, "lock_token": job.lock_token}
        if not job.last_error:  # it never failed, so there are no failed attempts to remove with it
            return self._database.delete(**held)
        with transaction.atomic(using=self.db):
            if removed := self._database.delete(**held):
                self._attempts.filter(job=job.pk)._raw_delete(self.db)
            return removed

    def _remove_free(self, ids: Sequence[int]) -> int:
        """Remove those of these rows that no worker holds, with their failed attempts; returns how many.

        Not QuerySet.delete(): that deletes by id what it selected before, whoever has claimed it meanwhile.
        """
        rows = self.model._base_manager.using(self.db).filter(pk__in=ids)
        with transaction.atomic(using=self.db):
            removed: int = rows.exclude(HELD)._raw_delete(self.db)
            gone = set(ids).difference(rows.values_list("pk", flat=True))
            self._attempts.filter(job__in=gone)._raw_delete(self.db)
        return removed

    @property
    def _attempts(self) -> models.QuerySet[Any]:
        attempts: Any = self.model._meta.get_field("failed_attempts").related_model
        return attempts._base_manager.using(self.db)

    def _record(self, job: DelayedJob, error: ErrorText, **columns: Any) -> bool:
        """Move a held row on after a failed attempt, and write the attempt down with it."""
        columns |= {
            "last_error": error.text,
            "error_class": error.error_class,
            "error_message": error.message,
            "error_fingerprint": error.fingerprint,
        }

        def move() -> bool:
            with transaction.atomic(using=self.db):
                if not self.held(job).update(**{**LET_GO, **columns}):
                    return False
                job.failed_attempts.using(self.db).record(job, error)
                return True

        return bool(self._retrying(move))
