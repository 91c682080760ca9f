"""What a worker is doing, on a page of memory that it shares with whoever watches it."""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import time
from dataclasses import dataclass
from datetime import timedelta

# Native formats: they are copied eight bytes at a time, so that a reader never sees half of a number.
JOB, TIME = "@qqd", "@d"  # id, others, limit; when it began (0: no job is in hand)
LIMIT, BEGAN = struct.calcsize("@qq"), struct.calcsize(JOB)  # offsets
SIZE = BEGAN + struct.calcsize(TIME)


@dataclass(frozen=True)
class Current:
    """The job in hand: its id, its age, how long it may run, and how many more were claimed with it."""

    id: int
    age: timedelta
    limit: timedelta
    others: int


class Activity:
    """Written by the worker at no cost that counts, read by the parent: also when a job holds the GIL, and after a crash.

    The clock is `time.monotonic`, which all processes of a machine share.
    """

    def __init__(self, fd: int | None = None) -> None:
        if fd is None:
            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
            os.ftruncate(fd, SIZE)
        self.fd = fd
        self._page = mmap.mmap(self.fd, SIZE)

    def begin(self, id: int, others: int, limit: timedelta) -> None:
        """A job is in hand."""
        self._began = time.monotonic()
        # The time last: a reader that finds it finds what it belongs to.
        struct.pack_into(JOB, self._page, 0, id, others, limit.total_seconds())
        struct.pack_into(TIME, self._page, BEGAN, self._began)

    def limit_to(self, limit: timedelta) -> None:
        """The job in hand may run this long."""
        struct.pack_into(TIME, self._page, LIMIT, limit.total_seconds())

    def end(self) -> timedelta:
        """No job is in hand any more; returns for how long the last one was."""
        struct.pack_into(TIME, self._page, BEGAN, 0.0)
        # The time after that: whatever age a reader has seen, this one is not less.
        return timedelta(seconds=time.monotonic() - self._began)

    def current(self) -> Current | None:
        """The job in hand, if any."""
        while True:
            now = time.monotonic()  # before the look, so that no age is told which the job may not have reached
            began = self._read_began()
            id, others, limit = struct.unpack_from(JOB, self._page)
            if began == self._read_began():
                break
        if not began:
            return None
        return Current(id, timedelta(seconds=max(now - began, 0)), timedelta(seconds=limit), others)

    def _read_began(self) -> float:
        began: float = struct.unpack_from(TIME, self._page, BEGAN)[0]
        return began

    def close(self) -> None:
        """Let go of the page."""
        self._page.close()
        os.close(self.fd)
