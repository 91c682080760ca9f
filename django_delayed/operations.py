"""What an operator does: bulk moves, in batches and up to a cut-off, and pauses of queues."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import connections
from django.db.models import Q

from .conf import queue_name, settings
from .databases import DatabaseNow, database
from .features.unique.holding import unique_among
from .models import (
    IS_ASKED,
    DelayedJob,
    PausedQueue,
    Verb,
    WorkerRequest,
    all_groups,
    all_paused,
    all_rows,
    ask_to_end,
)
from .states import CANCELLED, HELD, ROWS_A_TRANSACTION, DelayedJobQuerySet, State, batches

MOST_ROWS = 25_000  # that one request moves: 2 to 4 seconds
IDS_REPORTED = 100
# Jobs that are spread over some time fall due in at least this many steps.
STEPS = 100


@dataclass(frozen=True)
class How:
    """What an operator says of a move, besides the rows.

    `by` is the name of the operator. `keep_for` is how long the row of a job stays after a worker has
    performed it. `spread` is the time over which the jobs fall due, and `wait` the time until those of one
    step do. `changes` are the columns that get other values, and `seen` the values that the operator has
    seen: a row that has others by now stays as it is.
    """

    by: str = ""
    keep_for: timedelta | None = None
    spread: timedelta = timedelta(0)
    wait: timedelta = timedelta(0)
    changes: Mapping[str, Any] = field(default_factory=dict)
    seen: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """A move that an operator makes, and the rows that it may be made with.

    Rows that are `spared` are moved only if an operator names them.
    """

    name: str
    allowed: Callable[[DelayedJobQuerySet], DelayedJobQuerySet]
    move: Callable[[Sequence[int], How], int]
    state: State | None = None  # the only one that is allowed
    spared: Q | None = None
    moves_failed: bool = False  # away from the causes that they have
    can_spread: bool = False
    takes_keys: bool = False  # for unique jobs

    def ids(
        self, rows: DelayedJobQuerySet, most: int | None = None, until: datetime | None = None
    ) -> list[int]:
        """The ids of at most `most` rows that may be moved; with `until`, only those as of that moment."""
        ids = list(self.allowed(rows).values_list("pk", flat=True)[:most])
        # A second statement, as no index has these columns: MariaDB would read every row that it passes over.
        return ids if until is None else list(as_of(ids, until).values_list("pk", flat=True))

    def among_all(self, rows: DelayedJobQuerySet) -> DelayedJobQuerySet:
        """The rows without those that are spared, for an operator who has chosen all rows."""
        return rows if self.spared is None else rows.exclude(self.spared)

    def carry_out(self, ids: Sequence[int], **how: Any) -> int:
        """Move the rows of these ids that still may be moved. Returns how many were. `how` makes a `How`.

        Each batch is a transaction of its own, and its statements check the state again: a row that another
        operator or a worker moves at the same moment is moved once.
        """
        causes = all_groups().remember(ids) if self.moves_failed else ()
        said = How(**how)
        moved = sum(self.move(batch, step) for batch, step in _steps(ids, said))
        if causes:
            all_groups().settle(causes, said.by)
        return moved

    def left_out(self, ids: Sequence[int]) -> int:
        """How many of these rows were not moved because an equal job waits. They may still be moved later."""
        if not self.takes_keys:
            return 0
        found = (unique_among(self.allowed(all_rows().filter(pk__in=some))) for some in batches(ids))
        return sum(rows.count() for rows in found)

    def report(self, result: str, ids: Sequence[int], where: str, spread: timedelta = timedelta(0)) -> str:
        """The text of a log entry: the operation, its result, and which rows."""
        result += f", spread over {spread.total_seconds():.0f} s" if spread else ""
        some = ", ".join(map(str, ids[:IDS_REPORTED])) + (", …" if len(ids) > IDS_REPORTED else "")
        return f"{self.name}: {result}{where and f' where {where}'}: {some}"


RETRY = Operation(
    name="retry",
    allowed=lambda rows: rows.failed(),
    move=lambda ids, how: all_rows().filter(pk__in=ids).retry(how.keep_for, how.wait),
    state=State.FAILED,
    # An operator has ended these jobs on purpose.
    spared=Q(error_fingerprint=CANCELLED),
    moves_failed=True,
    can_spread=True,
    takes_keys=True,
)
RUN_NOW = Operation(
    name="run_now",
    allowed=lambda rows: rows.not_due(),
    move=lambda ids, how: all_rows().filter(pk__in=ids).run_now(how.keep_for),
    takes_keys=True,
)
ADJUST = Operation(
    name="adjust",
    allowed=lambda rows: rows.waiting(),
    move=lambda ids, how: all_rows().filter(pk__in=ids, **how.seen).adjust(**how.changes),
)
GIVE_UP = Operation(
    name="give_up",
    allowed=lambda rows: rows.retrying(),
    move=lambda ids, how: all_rows().filter(pk__in=ids).give_up(how.by),
    state=State.RETRYING,
)
DISCARD = Operation(
    name="discard",
    allowed=lambda rows: rows.exclude(HELD),
    move=lambda ids, _: all_rows().discard_batch(ids),
    moves_failed=True,
)
CANCEL = Operation(
    name="cancel",
    allowed=lambda rows: rows.running().exclude(IS_ASKED),
    move=lambda ids, how: ask_to_end(all_rows().filter(pk__in=ids), how.by),
    state=State.RUNNING,
)


def _steps(ids: Sequence[int], how: How) -> Iterator[tuple[Sequence[int], How]]:
    """The ids in parts that fall due evenly over the spread, the first part now."""
    if not how.spread:
        yield from ((batch, how) for batch in batches(ids))
        return
    size = max(1, min(ROWS_A_TRANSACTION, len(ids) // STEPS))
    for start in range(0, len(ids), size):
        yield ids[start : start + size], replace(how, wait=how.spread * start / len(ids))


def pending_cancel(row: DelayedJob) -> WorkerRequest | None:
    """The request that asks the job of this row to end, while it runs."""
    if row.state != State.RUNNING:
        return None
    requests = WorkerRequest.objects.using(settings.DATABASE).filter(verb=Verb.CANCEL)
    return requests.filter(delayed_job_id=row.pk, lock_token=row.lock_token).order_by("pk").first()


def as_of(ids: Sequence[int], moment: datetime) -> DelayedJobQuerySet:
    """The rows of these ids that were neither created nor failed nor finished after `moment`.

    An operator who confirms a bulk operation has not seen the later ones.
    """
    unchanged = Q()
    for column in ("failed_at", "finished_at"):
        unchanged &= Q(**{f"{column}__isnull": True}) | Q(**{f"{column}__lte": moment})
    return all_rows().filter(unchanged, pk__in=ids, created_at__lte=moment)


def pause(queues: Iterable[str], by: str) -> list[str]:
    """Keep workers from claiming jobs of these queues until they are resumed. Returns the newly paused ones.

    Jobs that a worker has claimed already are performed. Raises TypeError or ValueError for an invalid name
    of a queue.
    """
    names = _queue_names(queues)
    paused = all_paused()
    missing = [name for name in names if not paused.filter(pk=name).exists()]
    now = {"paused_at": DatabaseNow(), "paused_by": by[:255]}
    # Another operator may pause one of them at the same moment.
    paused.bulk_create([PausedQueue(queue=name, **now) for name in missing], ignore_conflicts=True)
    return missing


def resume(queues: Iterable[str]) -> list[str]:
    """Let workers claim jobs of these queues again. Returns those that were paused."""
    names = _queue_names(queues)
    resumed = [name for name in names if all_paused().filter(pk=name)._raw_delete(settings.DATABASE)]
    if resumed:
        database(connections[settings.DATABASE]).wake_workers()
    return resumed


def _queue_names(queues: Iterable[str]) -> list[str]:
    if isinstance(queues, str):
        raise TypeError(f"Give a list of the names of queues, [{queues!r}], not {queues!r}.")
    return list(dict.fromkeys(queue_name(queue, "queue") for queue in queues))
