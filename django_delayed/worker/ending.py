"""Why a worker ends between two batches although there is work: another one is to take its place."""

from __future__ import annotations

import logging

from .configuration import CODE_HAS_CHANGED, USED_UP, Configuration
from .memory import MEGABYTE, memory_taken
from .reload import CodeWatch

logger = logging.getLogger("django_delayed")

RELOAD_EVERY = 100  # jobs


class Ending:
    """Decides after each batch whether the worker goes on.

    With `code`, it ends when a file of the code has changed: looked at once a second between two batches,
    after 100 jobs at the latest, and when the queue is empty.
    """

    def __init__(self, configuration: Configuration, code: CodeWatch | None) -> None:
        self.code = code
        self._max_jobs = configuration.max_jobs
        self._max_memory = configuration.max_memory
        self._performed = 0
        self._since_look = 0  # jobs
        self._was_idle = False

    def limit(self, rows: int) -> int:
        """How many of so many rows a claim may take, at least one."""
        if self.code:
            rows = min(rows, RELOAD_EVERY - self._since_look)
        if self._max_jobs is not None:
            rows = min(rows, self._max_jobs - self._performed)
        return max(1, rows)

    def performed(self, jobs: int) -> None:
        """The worker has performed so many jobs more."""
        self._performed += jobs
        self._since_look += jobs

    def was_idle(self) -> None:
        """The worker has slept."""
        self._was_idle = True

    def exit_code(self) -> int | None:
        """The exit code with which the worker is to end now; None while it goes on."""
        if self.code and self._code_has_changed(self.code):
            return CODE_HAS_CHANGED
        if self._max_jobs is not None and self._performed >= self._max_jobs:
            logger.info("%s jobs performed: another worker takes the place of this one", self._performed)
            return USED_UP
        # After a job: what a receiver of worker_started has loaded, the next worker would take too.
        if self._performed and self._max_memory is not None and (taken := memory_taken()) > self._max_memory:
            logger.info("%s MB taken: another worker takes the place of this one", taken // MEGABYTE)
            return USED_UP
        return None

    def _code_has_changed(self, code: CodeWatch) -> bool:
        if not (self._was_idle or self._since_look >= RELOAD_EVERY or code.is_due):
            return False
        self._since_look, self._was_idle = 0, False
        return code.has_changed()
