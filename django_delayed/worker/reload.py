"""In development: has the code that this worker runs changed?"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from django.utils.autoreload import iter_all_python_module_files

logger = logging.getLogger("django_delayed")


class CodeWatch:
    """Whether a file that this process has loaded was written after `since` (seconds of the epoch).

    `since` is the start of the process and not the first check: a file saved between its import and that
    check would be missed.
    """

    def __init__(self, since: float) -> None:
        self.since = since

    def has_changed(self) -> bool:
        """Check every loaded file; logs the one that has changed."""
        now = time.time()
        for file in iter_all_python_module_files():
            written = written_at(file)
            # A time ahead of the clock would be a change to each new process, without end.
            if written is None or self.since < written <= now:
                logger.info("%s has changed; reloading the code", file)
                return True
        return False


def written_at(file: Path) -> float | None:
    """When the file was written, in seconds of the epoch; None if it cannot be read."""
    try:
        return file.stat().st_mtime
    except OSError:
        return None
