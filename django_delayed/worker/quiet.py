"""SIGUSR2 and SIGCONT: claim no more, and claim again."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager

from .activity import Activity
from .handlers import signals_handled
from .shutdown import Shutdown
from .titles import show, show_rest
from .wakeup import Wakeup

logger = logging.getLogger("django_delayed")

LOOK_EVERY = 0.2  # seconds


def quiet_by_signal(be_quiet: Callable[[bool], object]) -> AbstractContextManager[None]:
    """A block in which SIGUSR2 calls this with True, and SIGCONT with False.

    The shell sends SIGCONT with `fg`, and systemd after the SIGTERM of a stop.
    """
    return signals_handled(
        (signal.SIGUSR2, signal.SIGCONT), lambda number, _: be_quiet(number == signal.SIGUSR2)
    )


def wait_until_resumed(worker: str, activity: Activity, wakeup: Wakeup, shutdown: Shutdown) -> None:
    """Return when the worker of this id is to claim again, or to stop.

    It looks at its page: a signal that says so could be late, and undo what was asked after it.
    """
    logger.info("Worker %s is quiet: it claims no more", worker)
    show("quiet")
    while activity.is_quiet and not shutdown.requested:
        wakeup.wait(LOOK_EVERY)
    if not shutdown.requested:
        logger.info("Worker %s goes on", worker)
        show_rest()
