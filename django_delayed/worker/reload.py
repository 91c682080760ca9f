"""In development: notice that the code has changed."""

from __future__ import annotations

import logging
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from django.utils.autoreload import iter_all_python_module_files

logger = logging.getLogger("django_delayed")


class CodeWatch:
    """Whether a file that this process has loaded was written after `since` (seconds of the epoch).

    Since the start of the process, not since a first look: a file saved between its import and that look would be
    missed.
    """

    def __init__(self, since: float) -> None:
        self.since = since

    def has_changed(self) -> bool:
        """Look at every loaded file; the changed one is told in the log."""
        for file in iter_all_python_module_files():
            if (written := _written(file)) and written > self.since:
                logger.info("%s has changed; loading the code anew", file)
                return True
        return False


class SourceWatch:
    """Whether any source near the code of this project was written, added or removed since the last look.

    For a parent whose child cannot even start: the broken file may be one that nobody could load.
    """

    def __init__(self) -> None:
        self._seen = dict(self._look())

    def has_changed(self) -> bool:
        """Look again."""
        now = dict(self._look())
        changed = now != self._seen
        self._seen = now
        return changed

    def _look(self) -> Iterator[tuple[Path, float | None]]:
        libraries = tuple(
            {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")} | {sys.prefix}
        )
        folders = {
            file.parent for file in iter_all_python_module_files() if not str(file).startswith(libraries)
        }
        for folder in folders:
            for file in folder.glob("*.py"):
                yield file, _written(file)


def _written(file: Path) -> float | None:
    try:
        return file.stat().st_mtime
    except OSError:
        return None
