"""The log in the terminal of a command, whatever LOGGING says."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger("django_delayed")


@contextmanager
def log_in_terminal(verbosity: int, quiet: bool) -> Iterator[None]:
    """A block in which the terminal shows the log, unless LOGGING has handlers for it or it is to be quiet.

    It shows the log from INFO on, or from DEBUG on with a verbosity of 2.
    """
    if logger.hasHandlers():
        yield
        return
    # Without any handler, logging's last resort would still write failures to stderr.
    handler = logging.NullHandler() if quiet else logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbosity > 1 else logging.INFO)
    try:
        yield
    finally:
        # The next command in this process may have another verbosity.
        logger.removeHandler(handler)
        logger.setLevel(level)


def terminal_shows(level: int) -> bool:
    """Whether a record of this level reaches a handler that writes to the terminal."""
    above: logging.Logger | None = logger
    handlers: list[logging.Handler] = []
    while above:
        handlers += above.handlers
        above = above.parent if above.propagate else None
    return logger.isEnabledFor(level) and any(
        handler.level <= level and getattr(handler, "stream", None) in (sys.stdout, sys.stderr)
        for handler in handlers
    )
