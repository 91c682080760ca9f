"""In development: whether the code that this worker runs has changed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from django.utils.autoreload import (
    BaseReloader,
    autoreload_started,
    file_changed,
    iter_all_python_module_files,
)

logger = logging.getLogger("django_delayed")

LOOK_EVERY = 1.0  # seconds, as Django's own reloader


class CodeWatch:
    """Whether a file that this process has loaded was written after `since` (seconds of the epoch).

    `since` is the start of the process and not the first look: a file saved between its import and that
    look would be missed. What Django's own reloader watches besides modules, such as templates and compiled
    translations, is read again in this process, as it is there.
    """

    def __init__(self, since: float) -> None:
        self.since = since
        self._others_since = since
        self._look_at = 0.0  # on the monotonic clock
        self._others = BaseReloader()
        autoreload_started.send_robust(sender=self._others)

    @property
    def is_due(self) -> bool:
        """Whether the last look is a second old."""
        return time.monotonic() >= self._look_at

    def has_changed(self) -> bool:
        """Look at every file. Logs the one for which a new process is needed."""
        self._look_at = time.monotonic() + LOOK_EVERY
        now = time.time()
        changed = self._changed_module(now) or self._changed_other(now)
        if changed:
            logger.info("%s has changed; reloading the code", changed)
        return changed is not None

    def _changed_module(self, now: float) -> Path | None:
        for file in iter_all_python_module_files():
            written = written_at(file)
            # A time in the future would be a change for each new process, without end.
            if written is None or self.since < written <= now:
                return file
        return None

    def _changed_other(self, now: float) -> Path | None:
        """The first file that has changed and that nothing in this process reads again."""
        since, self._others_since = self._others_since, now
        for file in self._other_files():
            written = written_at(file)
            if written is not None and since < written <= now and not _is_read_again(file):
                return file
        return None

    def _other_files(self) -> Iterator[Path]:
        yield from self._others.extra_files
        for folder, patterns in self._others.directory_globs.items():
            # A folder may be removed while it is read.
            with suppress(OSError):
                for pattern in patterns:
                    yield from folder.glob(pattern)


def _is_read_again(file: Path) -> bool:
    answers = file_changed.send_robust(sender=CodeWatch, file_path=file)
    return any(answer is True for _, answer in answers)


def written_at(file: Path) -> float | None:
    """When the file was written, in seconds of the epoch; None if it cannot be read."""
    try:
        return file.stat().st_mtime
    except OSError:
        return None
