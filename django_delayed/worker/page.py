"""Memory that several processes share: a file without a name, with times and numbers in it."""

from __future__ import annotations

import os
import struct
import tempfile
import time
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmap import mmap

# Native formats: they are copied eight bytes at a time, so that a reader never sees half of a number.
# A time, 0 for none; a number.
TIME, NUMBER = "@d", "@q"
WORD = struct.calcsize(NUMBER)


def new_file(size: int) -> int:
    """The descriptor of a new file without a name, of so many zeros. Raises OSError if none can be made."""
    try:
        # In memory: it needs no folder that can be written.
        fd = os.memfd_create("django_delayed")
    except (AttributeError, OSError):
        # Only Linux has it, and some sandboxes refuse it.
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd


def mapped(fd: int) -> mmap:
    """The memory of the file with this descriptor."""
    # Where a platform has no mmap, everything but a worker works.
    from mmap import mmap

    return mmap(fd, os.fstat(fd).st_size)


def read(page: mmap, offset: int) -> float:
    """The time at this offset."""
    return float(struct.unpack_from(TIME, page, offset)[0])


def write(page: mmap, offset: int, at: float) -> None:
    """Write a time."""
    struct.pack_into(TIME, page, offset, at)


def since(page: mmap, offset: int) -> timedelta:
    """How long ago the time at this offset was; 0 if there is none."""
    now, at = time.monotonic(), read(page, offset)
    return timedelta(seconds=max(now - at, 0) if at else 0)
