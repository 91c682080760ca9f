"""The clock by which a supervisor and its workers tell how long ago something was."""

from __future__ import annotations

import time

# A clock that goes on while the machine is suspended. On macOS, the monotonic clock of the system does that,
# and Python's does not.
_ID = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def since_boot() -> float:
    """Seconds since some moment in the past, the same for all processes of this machine.

    Nobody sets it, unlike the wall clock.
    """
    return time.monotonic() if _ID is None else time.clock_gettime(_ID)
