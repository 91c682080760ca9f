"""SIGQUIT in a supervisor: write the stacks of all threads to stderr, and let the workers do the same."""

from __future__ import annotations

import faulthandler
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

from ..worker.handlers import signals_handled
from ..worker.stacks import NO_STDERR


def stacks_dumped_on_quit(also: Callable[[], None]) -> AbstractContextManager[None]:
    """A block in which SIGQUIT dumps the stacks of this process and calls `also`."""

    def dump(*_: object) -> None:
        with suppress(*NO_STDERR):
            faulthandler.dump_traceback()
        also()

    return signals_handled([signal.SIGQUIT], dump)
