"""Which jobs of a claim are performed and not settled yet, on the page that worker and supervisor share.

So what a worker has performed is not performed again when it dies: whoever releases its rows removes these
first.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from .page import NUMBER, WORD

if TYPE_CHECKING:
    from mmap import mmap

# Rows that a claim takes are settled together up to this number.
MOST = 500
# Bytes for the results of all of them; a page of zeros that is never written takes no memory.
RESULTS_SIZE = 128 * 1024
RESULT = "@qq"  # an id, and how many bytes of its result follow
COUNT_AT, SETTLED_AT, END_AT, IDS_AT = range(0, 4 * WORD, WORD)
RESULTS_AT = IDS_AT + MOST * WORD
LEDGER_SIZE = RESULTS_AT + RESULTS_SIZE


class Unsettled(NamedTuple):
    """The ids of jobs that were performed. Their rows are held by the claim of this token, or are moved.

    `results` has the values for the column `result`, by the ids of jobs that have one.
    """

    token: int
    ids: Sequence[int]
    results: Mapping[int, str] = MappingProxyType({})


class Ledger:
    """The ids of these jobs, in one slot: written by the thread that performs them, and read by any process.

    It is only for rows that are to be removed, or kept with at most a result. Other outcomes do not fit on
    the page, and are written at once.
    """

    def __init__(self, page: mmap, start: int) -> None:
        self._page = page
        self._start = start

    def add(self, id: int, result: bytes = b"") -> None:
        """Add a job that was performed, with its result. Raises OverflowError if there is no place for it."""
        if not self.has_place_for(result):
            raise OverflowError(f"The ledger has {len(self)} jobs already, or the result is too large.")
        count = len(self)
        if result:
            self._add_result(id, result)
        # The count comes last: a reader that finds it also finds the id.
        self._write(IDS_AT + count * WORD, id)
        self._write(COUNT_AT, count + 1)

    def _add_result(self, id: int, result: bytes) -> None:
        end = self._read(END_AT)
        struct.pack_into(RESULT, self._page, self._start + RESULTS_AT + end, id, len(result))
        begin = self._start + RESULTS_AT + end + 2 * WORD
        self._page[begin : begin + len(result)] = result
        self._write(END_AT, end + _size(len(result)))

    def clear(self) -> None:
        """Remove all of them: their rows are moved, or lost."""
        self._write(COUNT_AT, 0)
        self._write(END_AT, 0)

    def has_place_for(self, result: bytes = b"") -> bool:
        """Whether a job with this result can be added."""
        if len(self) >= MOST:
            return False
        return not result or self._read(END_AT) + _size(len(result)) <= RESULTS_SIZE

    def __len__(self) -> int:
        return self._read(COUNT_AT)

    @property
    def last(self) -> int | None:
        """The id that was added last."""
        count = len(self)
        return self._read(IDS_AT + (count - 1) * WORD) if count else None

    @property
    def ids(self) -> Sequence[int]:
        """All ids."""
        return struct.unpack_from(f"@{len(self)}q", self._page, self._start + IDS_AT)

    @property
    def written_results(self) -> bytes:
        """The results, for `results_in`."""
        begin = self._start + RESULTS_AT
        return self._page[begin : begin + self._read(END_AT)]

    # While the worker performs a long job, its supervisor moves the rows.

    def settles_too(self, token: int) -> None:
        """Note that another process begins to move the rows of this claim."""
        self._write(SETTLED_AT, token)

    def was_settled_by_another(self, token: int) -> bool:
        """Whether another process has begun to move rows of this claim."""
        return self._read(SETTLED_AT) == token

    def _read(self, offset: int) -> int:
        return int(struct.unpack_from(NUMBER, self._page, self._start + offset)[0])

    def _write(self, offset: int, number: int) -> None:
        struct.pack_into(NUMBER, self._page, self._start + offset, number)


def results_in(written: bytes) -> Mapping[int, str]:
    """The results by their ids, from the bytes on the page."""
    results, at = {}, 0
    while at < len(written):
        id, size = struct.unpack_from(RESULT, written, at)
        results[id] = written[at + 2 * WORD :][:size].decode()
        at += _size(size)
    return results


def _size(size: int) -> int:
    # The next one begins at a whole word.
    return 2 * WORD + -(-size // WORD) * WORD
