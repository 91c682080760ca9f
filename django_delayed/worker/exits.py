"""How a process has ended, in words."""

from __future__ import annotations

import signal


def how_it_ended(code: int) -> str:
    """The exit code of a process, negative for a signal, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    hint = ", perhaps out of memory" if -code == signal.SIGKILL else ""
    return f"was killed by {_name_of(-code)}{hint}"


def _name_of(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:
        # A real-time signal has no name of its own.
        return f"signal {signum}"
