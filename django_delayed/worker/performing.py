"""Perform jobs in the process and the thread of their worker, or with --isolate in a process of their own."""

from __future__ import annotations

from collections.abc import Sequence

from ..execution.isolation import LeftThreads, ProcessState, is_main_thread
from ..execution.outcomes import Outcome
from ..execution.perform import perform
from ..execution.session import Session
from ..execution.settle import Performed, announce
from ..models import DelayedJob
from .activity import Activity
from .cancelling import stop_for
from .children import Children
from .configuration import Configuration
from .shutdown import Shutdown
from .slot import Slot
from .wakeup import Wakeup


class Performing:
    """Performs jobs in this thread. In the main thread, what they have changed in the process is put back."""

    settles_together = True

    def __init__(self, session: Session, slot: Slot, shutdown: Shutdown) -> None:
        self._session = session
        self._slot = slot
        self._shutdown = shutdown
        self._left_threads: LeftThreads | None = None

    def begin(self) -> None:
        """Keep the state of the process for each job to find. Called before the first, in their thread."""
        if is_main_thread():
            self._session.process, self._left_threads = ProcessState(), LeftThreads()

    def perform(self, row: DelayedJob) -> Outcome:
        """Perform the job of this row, which the worker holds."""
        return perform(
            row,
            self._session,
            on_load=lambda job: self._slot.limit_to(job.run_time),
            stop=stop_for(row, self._slot, lambda: self._shutdown.requested),
        )

    def announce(self, written: Sequence[Performed]) -> None:
        """Send the signals of outcomes that are written."""
        announce(written, self._session)

    def end_job(self, row: DelayedJob) -> None:
        """Report what the performed job of this row has left running."""
        if self._left_threads:
            self._left_threads.report(row)

    def end(self) -> None:
        """Called after the last job: close the session too."""
        self._session.close()
        if self._session.process:
            self._session.process.close()
            self._session.process = None


def performing_of(
    configuration: Configuration,
    activity: Activity,
    slot: Slot,
    session: Session,
    wakeup: Wakeup,
    shutdown: Shutdown,
) -> Performing | Children:
    """How a worker of this configuration performs in this slot. `session` is that of its receivers, too."""
    if configuration.isolate:
        return Children(activity, session, wakeup, shutdown)
    return Performing(session, slot, shutdown)
