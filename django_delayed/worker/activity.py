"""What a worker is doing, on a page of memory that it shares with its supervisor."""

from __future__ import annotations

import math
import mmap
import os
import struct
import tempfile
import time
from dataclasses import dataclass
from datetime import timedelta

# Native formats: they are copied eight bytes at a time, so that a reader never sees half of a number.
# An id and a limit; a time, 0 for none.
JOB, TIME, TOKEN = "@qd", "@d", "@q"
# Offsets.
LIMIT_AT = struct.calcsize("@q")
BEGAN_AT = struct.calcsize(JOB)
HEARTBEAT_AT, READY_AT, LEFT_AT, STATEMENT_AT, CLAIM_AT, SIZE = (
    BEGAN_AT + number * struct.calcsize(TIME) for number in (1, 2, 3, 4, 5, 6)
)

# How long a job may outlive its max_run_time, for its own alarm to end it.
GRACE = timedelta(seconds=3)


@dataclass(frozen=True)
class Current:
    """The current job: its id, its age, and how long it may run; a limit of None while it is settled."""

    id: int
    age: timedelta
    limit: timedelta | None

    @property
    def is_overdue(self) -> bool:
        """Whether it has outlived its limit for so long that its own alarm will not end it."""
        return self.limit is not None and self.age > self.limit + GRACE


def _new_file() -> int:
    """The descriptor of a new file of SIZE zeros that has no name. Raises OSError if none can be made."""
    try:
        # In memory: it needs no folder that can be written.
        fd = os.memfd_create("django_delayed")
    except (AttributeError, OSError):
        # Only Linux has it, and some sandboxes refuse it.
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, SIZE)
    return fd


class Activity:
    """The shared page: written by both processes, read even while a job holds the GIL, and after a crash.

    So the supervisor knows which job a dead worker performed, and no job costs a statement or a message for
    that. Ages are measured by `time.monotonic`, which all processes of a machine share; the age of the
    heartbeat by the wall clock, as the monotonic one may stand still while the machine is suspended, and just
    then no heartbeat is sent.
    """

    def __init__(self, fd: int | None = None) -> None:
        self.fd = _new_file() if fd is None else fd
        self._page = mmap.mmap(self.fd, SIZE)

    # The current job

    def begin(self, id: int, limit: timedelta) -> None:
        """A job begins."""
        # The time last: a reader that finds it also finds the id and the limit that belong to it.
        struct.pack_into(JOB, self._page, 0, id, limit.total_seconds())
        self._write(BEGAN_AT, time.monotonic())

    def limit_to(self, limit: timedelta) -> None:
        """The current job may run this long."""
        self._write(LIMIT_AT, limit.total_seconds())

    def performed(self) -> None:
        """The current job has ended. Settling it may take as long as the database is unavailable."""
        self._write(LIMIT_AT, math.inf)

    def end(self) -> None:
        """There is no current job."""
        self._write(BEGAN_AT, 0.0)

    def current(self) -> Current | None:
        """The current job, if there is one."""
        while True:
            # Before the page is read, so that the age is never more than the job has reached.
            now = time.monotonic()
            began = self._read(BEGAN_AT)
            id, limit = struct.unpack_from(JOB, self._page)
            if began == self._read(BEGAN_AT):
                break
        if not began:
            return None
        age = timedelta(seconds=max(now - began, 0))
        return Current(id, age, None if math.isinf(limit) else timedelta(seconds=limit))

    # The worker

    def be_ready(self) -> None:
        """The worker's process has started up."""
        self._write(READY_AT, time.monotonic())

    @property
    def is_ready(self) -> bool:
        """Whether the worker's process has ever started up."""
        return bool(self._read(READY_AT))

    def leave(self) -> None:
        """The worker has left its loop; its process should end now."""
        self._write(LEFT_AT, time.monotonic())

    @property
    def left_for(self) -> timedelta:
        """How long ago the worker has left its loop; 0 while it is in it."""
        return self._since(LEFT_AT)

    def begin_statement(self) -> None:
        """The worker begins to wait for a statement of its own, and not for one of a job."""
        self._write(STATEMENT_AT, time.monotonic())

    def end_statement(self) -> None:
        """The worker waits for no statement of its own."""
        self._write(STATEMENT_AT, 0.0)

    @property
    def in_statement_for(self) -> timedelta:
        """How long the worker has been waiting for a statement of its own; 0 while it is not."""
        return self._since(STATEMENT_AT)

    def claim(self, token: int) -> None:
        """The worker has the rows of this claim, and no others."""
        struct.pack_into(TOKEN, self._page, CLAIM_AT, token)

    @property
    def claimed(self) -> int:
        """The token of the last claim whose rows have reached the worker; 0 before the first."""
        token: int = struct.unpack_from(TOKEN, self._page, CLAIM_AT)[0]
        return token

    def heartbeat(self, at: float) -> None:
        """A heartbeat of the worker was written to the database, not before this time of the wall clock."""
        self._write(HEARTBEAT_AT, at)

    def is_stale(self, span: timedelta) -> bool:
        """Whether no heartbeat was sent for this long; False if none ever was."""
        heartbeat = self._read(HEARTBEAT_AT)
        return bool(heartbeat) and time.time() - heartbeat > span.total_seconds()

    def _since(self, offset: int) -> timedelta:
        now, at = time.monotonic(), self._read(offset)
        return timedelta(seconds=max(now - at, 0) if at else 0)

    def _read(self, offset: int) -> float:
        number: float = struct.unpack_from(TIME, self._page, offset)[0]
        return number

    def _write(self, offset: int, number: float) -> None:
        struct.pack_into(TIME, self._page, offset, number)

    def close(self) -> None:
        """Unmap the page."""
        self._page.close()
        os.close(self.fd)
