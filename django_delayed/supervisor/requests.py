"""What operators ask of the workers of a supervisor, by the admin or by a signal."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from ..models import Verb, WorkerRequest
from ..serialization.errors import printable
from ..worker.quiet import quiet_by_signal
from ..worker.requests import read_requests
from .manager import WorkerManager

logger = logging.getLogger("django_delayed")

# How each verb is carried out, in the main thread.
CARRY_OUT: dict[str, Callable[[WorkerManager, WorkerRequest], None]] = {
    Verb.QUIET: lambda manager, _: manager.be_quiet(True),
    Verb.RESUME: lambda manager, _: manager.be_quiet(False),
    Verb.STOP: lambda manager, _: manager.stop(for_good=False),
    Verb.CANCEL: lambda manager, request: manager.cancel(request),
}


class Requests:
    """Keeps what is asked until the main thread carries it out; `wake` ends the sleep of that thread."""

    def __init__(self, managers: Sequence[WorkerManager], wake: Callable[[], object]) -> None:
        self._managers = managers
        self._wake = wake
        # A request without a worker is for all.
        self._asked: deque[WorkerRequest] = deque()

    def read(self) -> None:
        """Read what is asked in the database; to be called every READ_EVERY, in the database thread."""
        if workers := [manager.worker for manager in self._managers if manager.worker]:
            read_requests(workers, self._keep)

    def by_signal(self) -> AbstractContextManager[None]:
        """A block in which SIGUSR2 and SIGCONT are for all workers, and those that take their places."""

        def ask_all(quiet: bool) -> None:
            verb, by = (Verb.QUIET, "SIGUSR2") if quiet else (Verb.RESUME, "SIGCONT")
            self._asked.append(WorkerRequest(worker="", verb=verb, requested_by=by))

        return quiet_by_signal(ask_all)

    def carry_out(self) -> None:
        """Carry out what was asked, in the order in which it was asked; called in the main thread."""
        while self._asked:
            request = self._asked.popleft()
            by = printable(request.requested_by) or "nobody"
            for manager in self._managers:
                if request.worker in ("", manager.worker):
                    # Requests to end a job are repeated, and systemd sends SIGCONT at each stop.
                    changes_nothing = request.verb == Verb.RESUME and not manager.is_quiet
                    level = logging.DEBUG if request.verb == Verb.CANCEL or changes_nothing else logging.INFO
                    logger.log(level, "Worker %s is asked by %s: %s", manager.worker, by, request.verb)
                    CARRY_OUT[request.verb](manager, request)

    def _keep(self, request: WorkerRequest) -> None:
        if request.verb in CARRY_OUT:
            self._asked.append(request)
            self._wake()
        else:
            # From a newer version of this package, or written by hand.
            logger.warning("Worker %s got an unknown request: %r", request.worker, request.verb)
