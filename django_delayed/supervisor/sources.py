"""In development: whether the source files of this project have changed."""

from __future__ import annotations

import os
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

from django.utils.autoreload import iter_all_python_module_files

from ..worker.reload import written_at

CHECK_EVERY = 1.0  # seconds, as Django's own reloader


class SourceWatch:
    """Whether a source file of this project was written, added or removed since this was made.

    For a supervisor with a worker that cannot start: the broken file may be one that nothing could load.
    """

    def __init__(self) -> None:
        self._seen = dict(self._files())
        self._checked_at = time.monotonic()

    def has_changed(self) -> bool:
        """Check all files, unless they were checked less than a second ago."""
        if time.monotonic() - self._checked_at < CHECK_EVERY:
            return False
        self._checked_at = time.monotonic()
        return dict(self._files()) != self._seen

    def _files(self) -> Iterator[tuple[Path, float | None]]:
        paths = {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
        libraries = tuple(f"{path}{os.sep}" for path in paths)
        files = (file for file in iter_all_python_module_files() if not str(file).startswith(libraries))
        for folder in {file.parent for file in files}:
            for file in folder.glob("*.py"):
                yield file, written_at(file)
