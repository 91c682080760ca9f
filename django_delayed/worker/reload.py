"""In development: notice that the code has changed."""

from __future__ import annotations

import logging
import os
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

from django.utils.autoreload import iter_all_python_module_files

logger = logging.getLogger("django_delayed")

LOOK_EVERY = 1.0  # seconds, as Django's own reloader


class CodeWatch:
    """Whether a file that this process has loaded was written after `since` (seconds of the epoch).

    Since the start of the process, not since a first look: a file saved between its import and that look
    would be missed.
    """

    def __init__(self, since: float) -> None:
        self.since = since

    def has_changed(self) -> bool:
        """Look at every loaded file; the changed one is told in the log."""
        now = time.time()
        for file in iter_all_python_module_files():
            written = _written(file)
            # A time ahead of the clock would be news to each new process again, without end.
            if written is None or self.since < written <= now:
                logger.info("%s has changed; loading the code anew", file)
                return True
        return False


class SourceWatch:
    """Whether any source near the code of this project was written, added or removed since this was made.

    For a parent whose child cannot even start: the broken file may be one that nobody could load.
    """

    def __init__(self) -> None:
        self._seen = dict(self._look())
        self._looked = time.monotonic()

    def has_changed(self) -> bool:
        """Look again, unless the last look was just now."""
        if time.monotonic() - self._looked < LOOK_EVERY:
            return False
        self._looked = time.monotonic()
        return dict(self._look()) != self._seen

    def _look(self) -> Iterator[tuple[Path, float | None]]:
        paths = {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
        libraries = tuple(f"{path}{os.sep}" for path in paths)
        files = (file for file in iter_all_python_module_files() if not str(file).startswith(libraries))
        for folder in {file.parent for file in files}:
            for file in folder.glob("*.py"):
                yield file, _written(file)


def _written(file: Path) -> float | None:
    try:
        return file.stat().st_mtime
    except OSError:
        return None
