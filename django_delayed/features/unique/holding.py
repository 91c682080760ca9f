"""Who holds a key: it is locked, the state of its job is read, and another job takes it or is a duplicate.

All code locks a key before the job that has it, and several keys in their order. No move of a worker locks a
key. So these locks cause no deadlock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connections, transaction
from django.db.models import F

from ...databases import database, lock_rows, parts, remove_locked, upsert
from ...exceptions import DuplicateJob
from .definition import FINISH
from .keys import PUT_TO_NOW, UNIQUE, Key, key_in

if TYPE_CHECKING:
    from ...models import DelayedJob
    from ...states import DelayedJobQuerySet

# Fewer rows than keys: they are read with their payloads, which may be large.
KEYS_AT_A_TIME, ROWS_AT_A_TIME = 1000, 100
COLUMNS = "key_hash, delayed_job_id, until"
# The job of a new key: its row is not written yet, but will be in the same transaction.
NOBODY = 0

# By the id() of the unsaved row.
Duplicates = dict[int, DuplicateJob]


class Waiting(NamedTuple):
    """What is known about a waiting job that has a key; the job is locked."""

    attempts: int
    is_put_to_now: bool


class Keys:
    """Keys that are locked until the end of the transaction, their holders, and who takes them.

    A holder that waits is locked too: it cannot begin before the transaction of a duplicate has committed the
    data that the duplicate was about.
    """

    def __init__(self, rows: DelayedJobQuerySet, keys: Iterable[Key]) -> None:
        self._rows = rows
        self._model: Any = rows.model.unique_keys
        self._has: dict[str, tuple[int, str]] = {}
        hashes = sorted({key.hash for key in keys})
        self._write([(key, NOBODY, "") for key in hashes], ["key_hash"])
        for some in parts(hashes, KEYS_AT_A_TIME):
            locked = lock_rows(connections[rows.db], self._model, some, (COLUMNS, []))
            self._has |= {key: (job, until) for key, job, until in locked}
        jobs = sorted({job for job, _ in self._has.values()} - {NOBODY})
        self._waiting = {
            pk: waiting for some in parts(jobs, KEYS_AT_A_TIME) for pk, waiting in _lock_waiting(rows, some)
        }
        others = [job for job, until in self._has.values() if until == FINISH and job not in self._waiting]
        self._alive = {pk for some in parts(others, KEYS_AT_A_TIME) for pk in alive(rows, some)}
        self.takers: dict[str, DelayedJob] = {}

    def holder(self, key: Key) -> int | None:
        """The id of the job that holds the key."""
        job, until = self._has[key.hash]
        if waiting := self._waiting.get(job):
            return job if until == FINISH or not waiting.attempts else None
        return job if job in self._alive else None

    def refuses(self, key: Key) -> bool:
        """Whether a new job with this key is a duplicate."""
        holder = self.holder(key)
        if holder is None:
            return False
        waiting = self._waiting.get(holder)
        # A job that replaces takes the key also from a holder that runs.
        return not key.replaces or (waiting is not None and waiting.is_put_to_now)

    def remove_replaced(self) -> None:
        """Remove the waiting jobs from which a new one takes the key."""
        taken = [row.wanted_key for row in self.takers.values() if row.wanted_key]
        replaced = self._waiting.keys() & {self.holder(key) for key in taken if key.replaces}
        for ids in parts([*replaced], KEYS_AT_A_TIME):
            self._rows.remove_replaced(ids)

    def write(self) -> None:
        """Write which jobs have taken keys; call it when their rows are saved."""
        taken = sorted((key, row.pk, _until(row)) for key, row in self.takers.items())
        self._write(taken, ["delayed_job_id", "until"])

    def _write(self, rows: Sequence[tuple[str, int, str]], changed: Sequence[str]) -> None:
        upsert(connections[self._rows.db], self._model, rows, changed)


def take_keys(rows: DelayedJobQuerySet, new: Sequence[DelayedJob]) -> tuple[Keys, Duplicates]:
    """Let unsaved rows take the keys that they want; `rows` are all rows. Call it in a transaction.

    Returns the keys, to be written after the rows, and the duplicates among the rows. Removes the jobs that
    others replace.
    """
    wanting = [(row, row.wanted_key) for row in new if row.wanted_key]
    keys = Keys(rows, (key for _, key in wanting))
    duplicates: Duplicates = {}
    for row, key in wanting:
        other = keys.takers.get(key.hash)
        if (other is not None and not key.replaces) or (other is None and keys.refuses(key)):
            duplicates[id(row)] = DuplicateJob(row.name, None if other is not None else keys.holder(key))
            continue
        if other is not None:
            duplicates[id(other)] = DuplicateJob(other.name, None)
        keys.takers[key.hash] = row
    keys.remove_replaced()
    return keys, duplicates


def move_with_keys(rows: DelayedJobQuerySet, ids: Sequence[int], move: Callable[[Sequence[int]], int]) -> int:
    """Move the unique jobs among these that can have their keys again, and let them take these.

    `move` moves the rows of the ids that it gets, in the transaction that takes the keys. Returns the sum of
    what it returned.
    """
    moved = 0
    for some in parts(ids, ROWS_AT_A_TIME):
        with transaction.atomic(using=rows.db):
            moved += move(_take_again(rows, list(rows.filter(pk__in=some).order_by("pk").only("payload"))))
    return moved


def _take_again(rows: DelayedJobQuerySet, found: Sequence[DelayedJob]) -> list[int]:
    for row in found:
        row.wanted_key = key_in(row.payload)
    keys = Keys(rows, (row.wanted_key for row in found if row.wanted_key))
    free = []
    for row in found:
        if key := row.wanted_key:
            if key.hash in keys.takers or keys.holder(key) not in (None, row.pk):
                continue
            keys.takers[key.hash] = row
        free.append(row.pk)
    keys.write()
    return free


def remove_free(rows: DelayedJobQuerySet, after: str) -> tuple[int, str]:
    """Remove the keys of jobs that have ended, among the next 1,000 keys behind `after`; `rows` are all rows.

    Returns how many were removed, and the last of the 1,000 keys; "" if there are no more.
    """
    model: Any = rows.model.unique_keys
    next_ones = model.objects.using(rows.db).filter(pk__gt=after).order_by("pk")[:KEYS_AT_A_TIME]
    found = list(next_ones.values_list("pk", "delayed_job_id"))
    free = _free_among(rows, found)
    connection = connections[rows.db]

    def remove() -> list[str]:
        with transaction.atomic(using=rows.db):
            # Checked once more, now that no other transaction can take them.
            locked = lock_rows(connection, model, free, ("key_hash, delayed_job_id", []), skip_locked=True)
            if still := _free_among(rows, locked):
                remove_locked(connection, model, still)
            return still

    removed = database(connection).repeat_on_conflict(remove) if free else []
    return len(removed), found[-1][0] if len(found) == KEYS_AT_A_TIME else ""


def _free_among(rows: DelayedJobQuerySet, keys: Sequence[tuple[Any, ...]]) -> list[str]:
    """The keys of jobs that have ended. Not every free key is one: a job that runs may wait again."""
    jobs = alive(rows, {job for _, job in keys}) if keys else set()
    return [key for key, job in keys if job not in jobs]


def unique_among(rows: Any) -> Any:
    """The rows of jobs that have a key."""
    return rows.annotate(has_key=F("extras").bitand(UNIQUE)).filter(has_key__gt=0)


def plain_among(rows: Any) -> Any:
    """The rows of jobs that have no key."""
    return rows.annotate(has_key=F("extras").bitand(UNIQUE)).filter(has_key=0)


def alive(rows: DelayedJobQuerySet, ids: Iterable[int]) -> set[int]:
    """The ids of the jobs among these that have not ended."""
    found = rows.filter(pk__in=[*ids], failed_at=None, finished_at=None)
    return set(found.values_list("pk", flat=True))


def _lock_waiting(rows: DelayedJobQuerySet, ids: Sequence[int]) -> Iterator[tuple[int, Waiting]]:
    connection = connections[rows.db]
    now, params = database(connection).now()
    columns = f"id, attempts, extras, run_at <= {now}", params
    for pk, attempts, extras, is_due in lock_rows(connection, rows.model, ids, columns, "claimable = 1"):
        yield pk, Waiting(attempts, bool(is_due and extras & PUT_TO_NOW))


def _until(row: DelayedJob) -> str:
    return row.wanted_key.until if row.wanted_key else ""
