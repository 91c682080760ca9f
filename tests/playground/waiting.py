"""Wait for events, never for time."""

import time

PATIENCE = 30  # seconds: an event that has not come by then will not come


def until(holds, patience=PATIENCE):
    """Wait until `holds()` is true; gives its result."""
    deadline = time.monotonic() + patience
    while not (found := holds()):
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.02)
    return found
