"""What a long job calls: `self.iterate(queryset)`, by items or by chunks, and `with self.step(name)`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import groupby
from operator import attrgetter
from types import TracebackType
from typing import Any, Generic, TypeVar

from django.db import transaction
from django.db.models import Model, QuerySet

from ...conf import settings
from ...serialization.arguments import from_json
from .cursors import Cursor, Cursors, done, dump, dump_key, key_of, load, load_key
from .querysets import check_queryset, rows_after

M = TypeVar("M", bound=Model)

LONGEST_NAME = 255  # characters of the name of a step
LARGEST_CHUNK = 10_000
# Rows are read about a second ahead: a job that saves a row that was read long ago may undo what others have
# changed meanwhile.
FIRST_READ, MOST_READ = 10, 500
READ_AHEAD = 1.0  # seconds


class Chunk(list[M], Generic[M]):
    """Some instances, and a `with` block: a transaction on the database of the queue, with the cursor."""

    def __init__(self, instances: Iterable[M], block: AbstractContextManager[None]) -> None:
        super().__init__(instances)
        self._block = block
        self.was_left = False
        self.is_committed = False

    def __enter__(self) -> None:
        self._block.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.was_left = True
        self._block.__exit__(kind, error, trace)
        self.is_committed = error is None


class Iteration(Generic[M]):
    """One iteration of an attempt over the rows of a queryset, from the cursor of earlier attempts on."""

    def __init__(self, cursors: Cursors, queryset: QuerySet[M]) -> None:
        check_queryset(queryset)
        label = queryset.model._meta.label_lower
        self._cursors = cursors
        self._queryset = queryset
        self._name = f"{cursors.step}: {label}" if cursors.step else label
        self._key = key_of(cursors.step, label)

    def items(self) -> Iterator[M]:
        """Each instance; the one that the loop is at when the attempt ends is given again to the next one."""
        with self._begun() as after:
            size = FIRST_READ
            while not self._cursors.is_step_done:
                began = time.monotonic()
                found = rows_after(self._queryset, after, size)
                if found:
                    # Raises for a key that cannot be written, before anything is done.
                    self._cursor(found[0].pk)()
                for instance in _each_once(found):
                    self._cursors.stop_if_asked()
                    # Before the yield: an instance that the job deletes has no key any more.
                    after = instance.pk
                    yield instance
                    self._cursors.expect_no_transaction()
                    self._cursors.move(self._key, self._cursor(after))
                if len(found) < size:
                    return
                is_fast = time.monotonic() - began < READ_AHEAD
                size = min(2 * size, MOST_READ) if is_fast else max(size // 2, 1)

    def chunks(self, size: int) -> Iterator[Chunk[M]]:
        """The instances in chunks of this size. Raises RuntimeError for a chunk without its `with` block."""
        with self._begun() as after:
            while not self._cursors.is_step_done and (found := rows_after(self._queryset, after, size)):
                self._cursors.stop_if_asked()
                after = found[-1].pk
                cursor = self._cursor(after)
                chunk = Chunk(_each_once(found), self._cursors.transaction(self._key, cursor()))
                yield chunk
                if not chunk.was_left:
                    raise RuntimeError(
                        f"A chunk of {self._name} was not used as a block: write `with chunk:` in the loop,"
                        " and the work on the chunk inside it."
                    )
                if not chunk.is_committed:
                    # The job has caught the error of this chunk, and goes on without it.
                    self._cursors.move(self._key, cursor)

    def _cursor(self, key: Any) -> Callable[[], Cursor]:
        """A function that makes the cursor behind this primary key: for most items, none is needed."""
        return partial(dump_key, self._name, self._queryset.model, key)

    @contextmanager
    def _begun(self) -> Iterator[Any]:
        said = self._cursors.begin(self._key, f"iteration over {self._name}")
        after = load_key(said, self._queryset.model)
        self._cursors.expect_no_transaction()
        with self._cursors.iterating():
            yield after


class Step:
    """One step of an attempt, which is this `with` block. When the block ends well, the step `is_done`."""

    def __init__(self, cursors: Cursors, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"The name of a step must be a text, not {type(name).__name__}.")
        if not 1 <= len(name) <= LONGEST_NAME:
            raise ValueError(
                f"The name of a step must have 1 to {LONGEST_NAME} characters, not {len(name):,}."
            )
        self._cursors = cursors
        self._name = name
        self._key = key_of(name)
        self._is_entered = False
        self._said: dict[str, Any] = {}
        self._cursor: Any = None
        self._is_done = False

    def __enter__(self) -> Step:
        cursors = self._cursors
        if cursors.step:
            raise RuntimeError(f"The step {self._name!r} is inside of the step {cursors.step!r}.")
        self._said = said = cursors.begin(self._key, f"step {self._name!r}")
        self._is_done, self._cursor = bool(said.get("done")), load(said)
        if not self._is_done:
            cursors.stop_if_asked()
        cursors.step, cursors.is_step_done, self._is_entered = self._name, self._is_done, True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        cursors = self._cursors
        cursors.step, cursors.is_step_done, self._is_entered = "", False, False
        if error is None and not self._is_done:
            self._is_done = True
            moved = done(self._name, self._said)
            if not cursors.move_inside(self._key, moved):
                cursors.move(self._key, lambda: moved)
                # At once: a step that is done must not be done again.
                cursors.write()

    @property
    def is_done(self) -> bool:
        """Whether the step was done, in this attempt or in an earlier one."""
        return self._is_done

    @property
    def cursor(self) -> Any:
        """What `advance` was called with the last time, perhaps in an earlier attempt; else None."""
        return self._cursor

    def transaction(self) -> AbstractContextManager[None]:
        """A block that is one transaction on the database of the queue; `advance` belongs to it.

        The attempt ends before it if its worker is being stopped.
        """
        self._cursors.stop_if_asked()
        return transaction.atomic(using=settings.DATABASE)

    def advance(self, cursor: Any) -> None:
        """Say that everything before this cursor is done. It may be any value that an argument may have.

        Inside of a transaction on the database of the queue, the cursor is committed with it. Elsewhere it is
        written once a second, and the attempt ends here if its worker is being stopped. Raises
        SerializationError for a value that cannot be stored, RuntimeError outside of the step.
        """
        if not self._is_entered:
            raise RuntimeError(
                f"advance() is for the block of the step {self._name!r}: it is over, or not begun."
            )
        if self._is_done:
            raise RuntimeError(f"The step {self._name!r} is done already: look at step.is_done first.")
        moved = dump(self._name, cursor)
        is_inside = self._cursors.move_inside(self._key, moved)
        self._cursor, self._said = cursor, from_json(moved.value)
        if not is_inside:
            self._cursors.move(self._key, lambda: moved)
            self._cursors.stop_if_asked()


def check_chunk(size: Any) -> None:
    """Raise TypeError or ValueError for an invalid size of a chunk."""
    if type(size) is not int:
        raise TypeError(f"The size of a chunk must be a whole number, not {size!r}.")
    if not 1 <= size <= LARGEST_CHUNK:
        raise ValueError(f"A chunk must have 1 to {LARGEST_CHUNK:,} rows, not {size!r}.")


def _each_once(instances: Iterable[M]) -> Iterator[M]:
    """The instances, without those that a join repeats."""
    return (next(same) for _, same in groupby(instances, attrgetter("pk")))
