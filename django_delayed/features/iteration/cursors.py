"""How far a long job is: the cursors of its iterations and steps, in memory, and when they are written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from types import TracebackType
from typing import Any, Protocol

from django.db import transaction
from django.db.models import Model

from ...conf import settings
from ...exceptions import JobInterrupted, JobTimeout, SerializationError
from ...serialization import arguments, records

WRITE_EVERY = 1.0  # seconds


@dataclass(frozen=True)
class Cursor:
    """How far an iteration or a step is, as JSON; its name is for people."""

    name: str
    value: str


class CursorStore(Protocol):
    """Where the cursors of one attempt are written, and what else they need of the code that performs it."""

    def read(self) -> Mapping[str, str]:
        """The cursors of earlier attempts as JSON, by their keys."""

    def write(self, cursors: Mapping[str, Cursor]) -> bool:
        """Write these, apart from what the job writes; False if the database is unavailable.

        Raises JobInterrupted when another worker has the job by now.
        """

    def write_inside(self, cursors: Mapping[str, Cursor]) -> None:
        """As `write`, in the transaction that the job has open. Raises the error of the database too."""

    def undisturbed(self) -> AbstractContextManager[None]:
        """A block in which no JobTimeout is raised."""

    def break_off(self) -> None:
        """Close the connection of the job, even in the middle of a statement."""

    def transactions(self) -> Set[str]:
        """The aliases on which the job has a transaction open."""

    def interrupted(self) -> None:
        """Called when the attempt ends early, after its cursors are written."""


class Cursors:
    """The cursors of one attempt, which is this `with` block; without a store, nothing is written.

    They are written once a second, before a stop, and when the attempt ends with an error. If it succeeds,
    nobody needs them any more.
    """

    def __init__(
        self, store: CursorStore | None = None, should_stop: Callable[[], bool] = lambda: False
    ) -> None:
        """`should_stop` says whether the attempt is to end early."""
        self._store = store
        self._should_stop = should_stop
        self._read: Mapping[str, str] = {}
        # By key: the cursors that have moved since they were written last.
        self._moved: dict[str, Callable[[], Cursor]] = {}
        self._begun: set[str] = set()
        self._iterates = False
        self._written_at = time.monotonic()
        self._has_written = False
        self._was_interrupted = False
        # The name of the step that the job is in, and whether an earlier attempt has done it.
        self.step = ""
        self.is_step_done = False

    def __enter__(self) -> Cursors:
        if self._store:
            self._read = self._store.read()
            self._has_written = bool(self._read)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._was_interrupted:
            # The job has caught the JobInterrupted, and has not done all its work.
            raise JobInterrupted
        # Not while a transaction is open: what was done in it is lost.
        if error is not None and self._store and not self._store.transactions():
            self.write()

    def begin(self, key: str, name: str) -> dict[str, Any]:
        """Begin an iteration or a step; returns what its cursor said. Raises RuntimeError if it has begun."""
        if key in self._begun:
            raise RuntimeError(
                f"The job has a second {name}: it could not tell them apart after an interruption."
                ' Give each step a name of its own, and each iteration a step: with self.step("…"):'
            )
        if self._iterates:
            raise RuntimeError(
                f"{name} is inside of an iteration, where each item is done as a whole: loop over"
                " queryset.iterator() there. If you left that iteration with break, call iterate() in"
                " the for statement and do not keep it in a variable."
            )
        self._begun.add(key)
        return arguments.from_json(self._read[key]) if key in self._read else {}

    @contextmanager
    def iterating(self) -> Iterator[None]:
        """A block in which no other iteration and no step may begin."""
        self._iterates = True
        try:
            yield
            # Written here, as what comes next may take long; a short iteration is not worth a statement.
            if self._has_written:
                self.write()
        finally:
            self._iterates = False

    def stop_if_asked(self) -> None:
        """End the attempt here, uncounted, if its worker is being stopped or an operator ends the job."""
        if self._store and self._should_stop():
            self.write()
            self._was_interrupted = True
            self._store.interrupted()
            raise JobInterrupted

    def expect_no_transaction(self) -> None:
        """Raise RuntimeError if the job has a transaction open, which may undo what the cursor counts."""
        if self._store and (aliases := self._store.transactions()):
            raise RuntimeError(
                f"iterate() goes on while a transaction is open on {min(aliases)!r}: a rollback would lose"
                " its items. End it before the next item, or iterate with chunk=…"
            )

    def move(self, key: str, cursor: Callable[[], Cursor]) -> None:
        """Move a cursor; it is made and written only if a write is due."""
        self._moved[key] = cursor
        if time.monotonic() - self._written_at >= WRITE_EVERY:
            self.write()

    def move_inside(self, key: str, cursor: Cursor) -> bool:
        """As `move`, in the transaction that the job has open, at once; False if it has none.

        Raises RuntimeError for a transaction on another database than the queue's.
        """
        if self._store is None or not (aliases := self._store.transactions()):
            return False
        if others := aliases - {settings.DATABASE}:
            raise RuntimeError(
                f"The cursor is written in {settings.DATABASE!r}, and a transaction is open on"
                f" {min(others)!r}: end that first."
            )
        self._store.write_inside({key: cursor})
        self._moved.pop(key, None)
        return True

    @contextmanager
    def transaction(self, key: str, cursor: Cursor) -> Iterator[None]:
        """A transaction of the job on the database of the queue, in which the cursor moves at the end."""
        self.expect_no_transaction()
        with ExitStack() as end, transaction.atomic(using=settings.DATABASE):
            try:
                yield
            except (JobTimeout, JobInterrupted):
                if self._store:
                    self._store.break_off()
                raise
            if self._store:
                # No JobTimeout from here until the commit.
                end.enter_context(self._store.undisturbed())
                self._store.write_inside({**self._made(), key: cursor})
        self._moved = {}
        self._has_written, self._written_at = True, time.monotonic()

    def write(self) -> None:
        """Write what has moved; what cannot be written now is kept for the next time."""
        if not self._moved:
            return
        self._written_at = time.monotonic()
        if self._store is None or self._store.write(self._made()):
            self._moved, self._has_written = {}, True

    def _made(self) -> dict[str, Cursor]:
        return {key: make() for key, make in self._moved.items()}


def key_of(step: str, model: str = "") -> str:
    """The key of a step, or of the iteration over a model in it; `step` is "" outside of steps."""
    return blake2b(arguments.to_json([step, model]).encode(), digest_size=16).hexdigest()


def dump(name: str, cursor: Any) -> Cursor:
    """The cursor to write. Raises SerializationError for a value that cannot be stored or is too large."""
    value = arguments.to_json({"at": arguments.encode_as(f"The cursor of {name}", cursor)})
    if len(value) > (limit := settings.MAX_ARGUMENTS_SIZE):
        raise SerializationError(
            f"The cursor of {name} takes {len(value):,} bytes of at most {limit:,}"
            " (DJANGO_DELAYED['MAX_ARGUMENTS_SIZE'])."
        )
    return Cursor(name, value)


def load(said: Mapping[str, Any]) -> Any:
    """The value that `dump` was given; None if there was none. Raises as the arguments of a job do."""
    return arguments.decode(said["at"]) if "at" in said else None


def dump_key(name: str, model: type[Model], key: Any) -> Cursor:
    """The cursor behind this primary key. Raises SerializationError for a key that cannot be stored."""
    texts = [arguments.encode(text) for text in records.key_as_text(model, key)]
    return Cursor(name, arguments.to_json({"key": texts}))


def load_key(said: Mapping[str, Any], model: type[Model]) -> Any:
    """The primary key that `dump_key` was given; None if there was none."""
    return records.key_from_text(model, said["key"]) if "key" in said else None


def done(name: str, said: Mapping[str, Any]) -> Cursor:
    """The cursor of a step that is done, from what it said before."""
    return Cursor(name, arguments.to_json({**said, "done": True}))
