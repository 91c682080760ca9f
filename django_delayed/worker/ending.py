"""Why a worker ends between two batches although there is work: another one is to take its place."""

from __future__ import annotations

import logging
import threading

from ..serialization.errors import printable
from .configuration import CANNOT_FORK, CODE_HAS_CHANGED, USED_UP, Configuration
from .memory import MEGABYTE, memory_taken
from .reload import CodeWatch

logger = logging.getLogger("django_delayed")

RELOAD_EVERY = 100  # jobs


class Ending:
    """Decides after each batch whether the worker goes on.

    With `code`, the worker ends when a file of the code has changed. The files are checked between two
    batches: once a second, after 100 jobs at the latest, and when the queue is empty.
    """

    def __init__(self, configuration: Configuration, code: CodeWatch | None) -> None:
        self.code = code
        # For what performing threads change while another thread has the turn.
        self._lock = threading.Lock()
        self._max_jobs = configuration.max_jobs
        self._max_memory = configuration.max_memory
        self._forks = configuration.isolate
        self._in_hand = 0  # jobs claimed and not performed yet
        self._performed = 0
        self._since_look = 0  # jobs
        self._was_idle = False

    def limit(self, rows: int) -> int:
        """How many of so many rows a claim may take, at least one."""
        if self.code:
            rows = min(rows, RELOAD_EVERY - self._since_look - self._in_hand)
        if self._max_jobs is not None:
            rows = min(rows, self._max_jobs - self._performed - self._in_hand)
        return max(1, rows)

    def claimed(self, rows: int) -> None:
        """Note that the worker has so many more rows to perform."""
        with self._lock:
            self._in_hand += rows

    def performed(self, jobs: int, of: int) -> None:
        """Note that the worker has performed so many of the jobs that it claimed, and released the others."""
        with self._lock:
            self._in_hand -= of
            self._performed += jobs
            self._since_look += jobs

    def was_idle(self) -> None:
        """Note that the worker has slept."""
        self._was_idle = True

    def exit_code(self) -> int | None:
        """The exit code with which the worker is to end now; None while it goes on."""
        if self.code and self._code_has_changed(self.code):
            return CODE_HAS_CHANGED
        if self._forks and (names := _other_threads()):
            logger.error(
                "A worker with --isolate forks, and what a thread of it has locked stays locked in the new"
                " process. It has threads: %s. Let only jobs and receivers of their signals start threads.",
                names,
            )
            return CANNOT_FORK
        taken = self._performed + self._in_hand
        if self._max_jobs is not None and taken >= self._max_jobs:
            logger.info("%s jobs performed: another worker replaces this one", taken)
            return USED_UP
        # Only after a job: the next worker would also take what a receiver of worker_started has loaded.
        if self._performed and self._max_memory is not None and (taken := memory_taken()) > self._max_memory:
            logger.info("%s MB taken: another worker replaces this one", taken // MEGABYTE)
            return USED_UP
        return None

    def _code_has_changed(self, code: CodeWatch) -> bool:
        if not (self._was_idle or self._since_look + self._in_hand >= RELOAD_EVERY or code.is_due):
            return False
        self._since_look, self._was_idle = 0, False
        return code.has_changed()


def _other_threads() -> str:
    """The names of the threads of this process except its main one; "" if there are none."""
    if threading.active_count() == 1:
        return ""
    main = threading.main_thread()
    return ", ".join(sorted(printable(one.name) for one in threading.enumerate() if one is not main))
