"""A job may fork. The child is the job's own, and must not go on as a second worker without a supervisor."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, TypeVar

T = TypeVar("T")

_forks = 0  # between the process that was started and this one


def _after_fork_in_child() -> None:
    global _forks
    _forks += 1


# Windows has no forks. No worker runs there, but jobs are performed inline.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def in_this_process(function: Callable[[], T]) -> Callable[[], T]:
    """The function, wrapped: a child that it has forked ends with it, whatever it returns or raises there.

    The child has the connections of its parent, and the code after the function would write to them.
    """
    # The id of the process tells it too, but costs a system call.
    forks = _forks

    def run() -> T:
        try:
            result = function()
        except BaseException as error:
            if _forks != forks:
                _end(error)
            raise
        if _forks != forks:
            _end(None)
        return result

    return run


def _end(error: BaseException | None) -> NoReturn:
    """End this process with the exit code that Python would give it, and run no code of its parent."""
    code = 0
    with suppress(BaseException):
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        elif error is not None:
            code = 1
            # Not to the log: its handlers may write to what the child shares with its parent.
            traceback.print_exception(error)
        sys.stderr.flush()
    os._exit(code & 0xFF)
