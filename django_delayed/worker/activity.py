"""What a worker is doing, on a page of memory that it shares with whoever watches it."""

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
JOB, TIME = "@qd", "@d"  # the job's id and limit; a time, 0 when there is none
LIMIT = struct.calcsize("@q")  # offsets
BEGAN = struct.calcsize(JOB)
BEAT, READY, SIZE = (BEGAN + number * struct.calcsize(TIME) for number in (1, 2, 3))


@dataclass(frozen=True)
class Current:
    """The job in hand: its id, its age, and how long it may run; None once it is over and being settled."""

    id: int
    age: timedelta
    limit: timedelta | None


class Activity:
    """Written by both sides at no cost that counts; can be read while a job holds the GIL, and after a crash.

    A job's age is told by `time.monotonic`, which all processes of a machine share. The clock of the beat
    is the wall's, as the other one may stand still while the machine is suspended.
    """

    def __init__(self, fd: int | None = None) -> None:
        if fd is None:
            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
            os.ftruncate(fd, SIZE)
        self.fd = fd
        self._page = mmap.mmap(self.fd, SIZE)

    # The job in hand

    def begin(self, id: int, limit: timedelta) -> None:
        """A job is in hand."""
        # The time last: a reader that finds it finds what it belongs to.
        struct.pack_into(JOB, self._page, 0, id, limit.total_seconds())
        self._write(BEGAN, time.monotonic())

    def limit_to(self, limit: timedelta) -> None:
        """The job in hand may run this long."""
        self._write(LIMIT, limit.total_seconds())

    def settle(self) -> None:
        """The job in hand is over; to write what came of it may take as long as the database is away."""
        self._write(LIMIT, math.inf)

    def end(self) -> None:
        """No job is in hand any more."""
        self._write(BEGAN, 0.0)

    def current(self) -> Current | None:
        """The job in hand, if any."""
        while True:
            now = (
                time.monotonic()
            )  # before the look, so that no age is told which the job may not have reached
            began = self._read(BEGAN)
            id, limit = struct.unpack_from(JOB, self._page)
            if began == self._read(BEGAN):
                break
        if not began:
            return None
        age = timedelta(seconds=max(now - began, 0))
        return Current(id, age, None if math.isinf(limit) else timedelta(seconds=limit))

    # The worker

    def be_ready(self) -> None:
        """The worker's process has come up."""
        self._write(READY, time.monotonic())

    @property
    def is_ready(self) -> bool:
        """Whether the worker's process has ever come up."""
        return bool(self._read(READY))

    def beat(self, at: float) -> None:
        """The database was told, not before this time of the wall clock, that the worker is alive."""
        self._write(BEAT, at)

    def is_silent(self, span: timedelta) -> bool:
        """Whether nobody has beaten for the worker for this long; False when nobody ever does."""
        beat = self._read(BEAT)
        return bool(beat) and time.time() - beat > span.total_seconds()

    def _read(self, offset: int) -> float:
        number: float = struct.unpack_from(TIME, self._page, offset)[0]
        return number

    def _write(self, offset: int, number: float) -> None:
        struct.pack_into(TIME, self._page, offset, number)

    def close(self) -> None:
        """Let go of the page."""
        self._page.close()
        os.close(self.fd)
