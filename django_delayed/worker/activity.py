"""What a worker is doing, on a page of memory that it shares with whoever watches it."""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import time
from dataclasses import dataclass
from datetime import timedelta

ID, OTHERS, LIMIT, BEGAN = 0, 8, 16, 24  # offsets of the four numbers
SIZE = 32


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

    def begin(self, id: int, others: int, limit: timedelta) -> float:
        """A job is in hand; returns when it began."""
        began = time.monotonic()
        # The time last: a reader that finds it finds what it belongs to.
        struct.pack_into("=qqd", self._page, ID, id, others, limit.total_seconds())
        struct.pack_into("=d", self._page, BEGAN, began)
        return began

    def limit_to(self, limit: timedelta) -> None:
        """The job in hand may run this long."""
        struct.pack_into("=d", self._page, LIMIT, limit.total_seconds())

    def end(self) -> None:
        """No job is in hand."""
        struct.pack_into("=d", self._page, BEGAN, 0.0)

    def current(self) -> Current | None:
        """The job in hand, if any."""
        while True:
            before = self._began()
            id, others, limit = struct.unpack_from("=qqd", self._page, ID)
            if before == self._began():
                break
        if not before:
            return None
        age = timedelta(seconds=time.monotonic() - before)
        return Current(id, age, timedelta(seconds=limit), others)

    def _began(self) -> float:
        began: float = struct.unpack_from("=d", self._page, BEGAN)[0]
        return began

    def close(self) -> None:
        """Let go of the page."""
        self._page.close()
        os.close(self.fd)
