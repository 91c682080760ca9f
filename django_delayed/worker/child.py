"""The process of one job, which a worker with --isolate forks: from the fork to its end."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from django.db import connections

from ..execution.isolation import STOP_SIGNALS, STREAMS
from ..execution.outcomes import Outcome
from ..execution.perform import perform
from ..execution.session import Session
from ..execution.settle import announce
from ..models import DelayedJob
from .cancelling import stop_for
from .handlers import signals_handled
from .outcome_json import dump_outcome, size_limit
from .slot import Slot

logger = logging.getLogger("django_delayed")

# What the worker says: that the job should stop; that its outcome is written.
STOP, WRITTEN = b"!", b"+"
_PR_SET_PDEATHSIG = 1  # of Linux
# The folders in which the system lists the open descriptors of this process.
_DESCRIPTORS = (Path("/proc/self/fd"), Path("/dev/fd"))


def live(worker: int, link: socket.socket, run: Callable[[socket.socket], None]) -> NoReturn:
    """Run a process that this worker has forked; `link` leads to the worker. Never returns."""
    code = 1
    try:
        _part_from(worker, link.fileno())
        # Some platforms send the signal of a stop to every process. The worker decides what it means here.
        with signals_handled(STOP_SIGNALS, lambda *_: None):
            run(link)
        connections.close_all()
        code = 0
    except BaseException:
        logger.exception("The process of a job has ended by an error outside of the job")
    finally:
        # What was registered with `atexit` belongs to the worker.
        with suppress(BaseException):
            logging.shutdown()
            flush_streams()
        os._exit(code)


def perform_in_child(row: DelayedJob, slot: Slot, link: socket.socket) -> None:
    """Perform the job, tell the worker its outcome, and announce that when it is written."""

    def is_worker_stopping() -> bool:
        with suppress(OSError):
            # The word is left there, to be found again. BlockingIOError: there is none.
            return bool(link.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        return False

    session = Session()
    stop = stop_for(row, slot, is_worker_stopping)
    outcome = perform(row, session, on_load=lambda job: slot.limit_to(job.run_time), stop=stop)
    message = dump_outcome(row, outcome) + b"\n"
    if len(message) > size_limit():
        raise ValueError(f"{row}: its outcome is {len(message):,} bytes of JSON, of at most {size_limit():,}")
    link.sendall(message)
    if _is_written(link):
        announce([(row, outcome)], session)
    session.close()


def _is_written(link: socket.socket) -> bool:
    """Wait until the worker says that the outcome is written; False if it never will be."""
    while word := link.recv(1):
        if word == WRITTEN:
            return True
    return False


def announce_in_child(row: DelayedJob, outcome: Outcome, link: socket.socket) -> None:
    """Announce what the worker has decided and written."""
    announce([(row, outcome)])


def prepare() -> None:
    """Do once, in the worker before its first job, what each child would have to do again."""
    _prctl()
    # A collection in a child would touch all objects of the worker, and so copy the memory that both share.
    gc.collect()
    gc.freeze()


def flush_streams() -> None:
    """Write what is buffered, before a fork: otherwise both processes would write it."""
    for stream in (sys.stdout, sys.stderr):
        # There may be none, or it is closed.
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _part_from(worker: int, link: int) -> None:
    """Become a process that shares nothing with the worker that could harm it, and that ends with it."""
    with suppress(OSError):
        # The worker does the same; the first of both takes effect.
        os.setpgid(0, 0)
    if prctl := _prctl():
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != worker:
        # The worker has died before the signal was asked for.
        os._exit(1)
    _close_descriptors({link, *STREAMS, *_descriptors_of_log()})


@cache
def _prctl() -> Any:
    """The function by which a process asks Linux to end it with its parent; None elsewhere."""
    try:
        # Some builds of Python do not have it.
        import ctypes

        return getattr(ctypes.CDLL(None), "prctl", None)
    except (ImportError, OSError):
        return None


def _close_descriptors(kept: Iterable[int]) -> None:
    """Let all other descriptors lead to the null device.

    Their numbers stay taken: an object of Python's that still has one, such as the connection of a client
    library, would otherwise write into the file or connection that is opened next.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in _open_descriptors() - {*kept, nowhere}:
        # One of them was the descriptor of the listed folder.
        with suppress(OSError):
            os.get_inheritable(number)
            os.dup2(nowhere, number, inheritable=False)
    os.close(nowhere)


def _open_descriptors() -> set[int]:
    for folder in _DESCRIPTORS:
        with suppress(OSError):
            return {int(name) for name in os.listdir(folder)}
    return set(range(min(os.sysconf("SC_OPEN_MAX"), 4096)))


def _descriptors_of_log() -> set[int]:
    """Those that the handlers of the log write to: all processes use them, line by line."""
    found = set()
    for reference in getattr(logging, "_handlerList", ()):
        for name in ("stream", "sock", "socket"):
            with suppress(AttributeError, OSError, ValueError, TypeError):
                found.add(int(getattr(reference(), name).fileno()))
    return found
