"""What a claim asks of a database: lanes, the filters of a worker, and the claim itself."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache

from ..conf import WILDCARDS

LANES_INDEX = "delayed_job_lanes"
# Bytes. A batch of larger ones would fill the memory of its worker.
LARGEST_PAYLOAD = 64 * 1024


@dataclass(frozen=True)
class Lane:
    """One (queue, priority) that has waiting rows; `due_in` is the seconds until its first row is due."""

    queue: str
    priority: int
    due_in: float
    is_paused: bool = False


@dataclass(frozen=True)
class Filters:
    """The lanes that a worker serves: all queues when none is named; both bounds are inclusive.

    `queues` are names, patterns such as "mail_*", and exceptions from them such as "!mail_slow". With
    `in_order`, jobs of the first are performed before those of the second, whatever their priorities.
    """

    queues: tuple[str, ...] = ()
    min_priority: int | None = None
    max_priority: int | None = None
    in_order: bool = False

    def __str__(self) -> str:
        order = " in this order" if self.in_order else ""
        queues = f"queues {', '.join(self.queues)}{order}" if self.queues else "all queues"
        lowest = "" if self.min_priority is None else f" from {self.min_priority}"
        highest = "" if self.max_priority is None else f" up to {self.max_priority}"
        return f"{queues}, priorities{lowest}{highest}" if lowest or highest else queues

    def serve(self, lane: Lane) -> bool:
        """Whether rows of this lane are for this worker."""
        return (
            (not self.queues or is_named(lane.queue, self.queues))
            and (self.min_priority is None or lane.priority >= self.min_priority)
            and (self.max_priority is None or lane.priority <= self.max_priority)
        )

    def rank(self, lane: Lane) -> tuple[float, ...]:
        """The key to sort lanes by: the priority, then how long the first row has been due.

        With `in_order`, the place of the queue comes before both.
        """
        urgency = (lane.priority, lane.due_in)
        return (_place(lane.queue, self.queues), *urgency) if self.in_order else urgency


def is_pattern(name: str) -> bool:
    """Whether it is a pattern of names. No queue can have such a name."""
    return not WILDCARDS.isdisjoint(name)


@lru_cache(maxsize=1000)
def is_named(queue: str, patterns: tuple[str, ...]) -> bool:
    """Whether a pattern names the queue (or all patterns are exceptions), and no exception names it."""
    named = [pattern for pattern in patterns if not pattern.startswith("!")]
    excepted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    return (not named or any(fnmatchcase(queue, pattern) for pattern in named)) and not any(
        fnmatchcase(queue, pattern) for pattern in excepted
    )


@lru_cache(maxsize=1000)
def _place(queue: str, patterns: tuple[str, ...]) -> int:
    """The index of the first of these patterns that names the queue; their number if none does."""
    named = [pattern for pattern in patterns if not pattern.startswith("!")]
    return next((place for place, one in enumerate(named) if fnmatchcase(queue, one)), len(named))


def _new_token() -> int:
    # The range of a BIGINT; 0 means a row that was never claimed.
    return secrets.randbelow(2**63 - 1) + 1


@dataclass
class Removal:
    """A row of an earlier claim of the worker, which the statement of the next claim removes.

    `is_done` says afterwards whether it was removed; None if that is not known, as there was no answer.
    """

    id: int
    token: int
    is_done: bool | None = False


@dataclass(frozen=True)
class Claim:
    """At most `limit` rows for the worker of this id, and the columns of them to read.

    A payload of more than LARGEST_PAYLOAD is left in the table: None is read in its place.
    `token` is random and the same for all rows of the claim. It guards every move of these rows: no later
    claim has the same one, not even by the same worker.
    `removal` is only for databases with CLAIM_REMOVES.
    """

    worker: str
    limit: int
    columns: Sequence[str]
    removal: Removal | None = None
    token: int = field(default_factory=_new_token)
