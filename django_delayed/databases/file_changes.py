"""Linux's inotify, which tells when a file is written to. Python's standard library has no module for it."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Sequence
from contextlib import suppress

# <sys/inotify.h>
IN_MODIFY = 0x2
IN_NONBLOCK, IN_CLOEXEC = os.O_NONBLOCK, getattr(os, "O_CLOEXEC", 0)


class FileChanges:
    """Writes to files. `fd` is readable when there were some since the last call of `have_come`.

    Raises OSError where there is no inotify, where no more instances of it are allowed, and for a file that
    does not exist.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(libc, "inotify_init1"):
            raise OSError("This system has no inotify.")
        self.fd: int = _checked(libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC))
        # Not at the end of the process: a fork may have closed it, and its number may be another file's.
        weakref.finalize(self, os.close, self.fd).atexit = False
        for path in paths:
            _checked(libc.inotify_add_watch(self.fd, os.fsencode(path), IN_MODIFY))

    def have_come(self) -> bool:
        """Whether there were writes since the last call."""
        have_come = False
        # The kernel adds no event that equals the last unread one, so there are few.
        with suppress(BlockingIOError):
            while os.read(self.fd, 65536):
                have_come = True
        return have_come


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
