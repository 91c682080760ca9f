"""How much memory this process takes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

MEGABYTE = 1024 * 1024


def memory_taken() -> int:
    """The resident bytes of this process: the present ones on Linux, the most so far elsewhere."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        # No worker runs on Windows, which does not have it, but the commands are imported there.
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")
