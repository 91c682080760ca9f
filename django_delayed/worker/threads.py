"""A worker that performs several jobs at the same time, each in a thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import connections

from ..execution.session import Session
from ..serialization.providers import import_all
from ..signals import worker_started, worker_stopped
from .activity import Activity
from .configuration import DONE, Configuration
from .ending import Ending
from .shutdown import Shutdown
from .slot import Slot
from .turns import Turns
from .wakeup import LONGEST, Wakeup
from .worker import Worker, tell

logger = logging.getLogger("django_delayed")


class ThreadedWorker:
    """Has a thread for each slot of its activity; its main thread handles signals and waits for these."""

    def __init__(
        self,
        id: str,
        configuration: Configuration,
        wakeup: Wakeup,
        shutdown: Shutdown,
        activity: Activity,
        *,
        ending: Ending,
    ) -> None:
        self.id = id
        self.configuration = configuration
        self.wakeup = wakeup
        self.shutdown = shutdown
        # As that of a `Worker`.
        self.on_work: Callable[[], object] = lambda: None
        self._activity = activity
        self._ending = ending
        self._turns = Turns()

    def run(self) -> int:
        """Work. Returns the exit code: DONE, or that of `Ending`. Raises an error that has ended a thread."""
        session = Session()
        import_all()
        tell(session, worker_started, self.id, process=self.configuration.process())
        threads = [
            SlotThread(number, self._work_in, slot, self._thread_ended)
            for number, slot in enumerate(self._activity.slots, 1)
        ]
        try:
            for thread in threads:
                thread.start()
            while not all(thread.has_ended for thread in threads):
                self.wakeup.wait(LONGEST)
                # Woken by a signal, or by the end of a thread.
                for thread in threads:
                    thread.wake()
        finally:
            tell(session, worker_stopped, self.id)
            session.close()
        return _exit_code(threads)

    def _work_in(self, slot: Slot, wakeup: Wakeup) -> int:
        worker = Worker(
            self.id,
            self.configuration,
            wakeup,
            self.shutdown,
            self._activity,
            ending=self._ending,
            turns=self._turns,
            slot=slot,
        )
        worker.on_work = self.on_work
        return worker.work()

    def _thread_ended(self, thread: SlotThread) -> None:
        # A thread that has found nothing to do lets the others go on.
        if thread.error or thread.exit_code != DONE:
            self.shutdown.request()
        self.wakeup.wake()


class SlotThread(threading.Thread):
    """Works in one slot, with connections and a sleep of its own, until `work` returns."""

    def __init__(
        self,
        number: int,
        work: Callable[[Slot, Wakeup], int],
        slot: Slot,
        on_end: Callable[[SlotThread], object],
    ) -> None:
        super().__init__(name=f"django_delayed {number}", daemon=True)
        self.exit_code = DONE
        self.error: BaseException | None = None
        self.has_ended = False
        self._work = work
        self._slot = slot
        self._on_end = on_end
        # Not made here, in the main thread: there it would get the signals instead of the worker's own.
        self._wakeup: Wakeup | None = None
        self._lock = threading.Lock()

    def run(self) -> None:
        """Work."""
        wakeup = Wakeup()
        with self._lock:
            self._wakeup = wakeup
        try:
            self.exit_code = self._work(self._slot, wakeup)
        except BaseException as error:
            self.error = error
            # The other jobs may take long to end.
            logger.exception("%s: the worker ends when its other jobs have ended", self.name)
        finally:
            with self._lock:
                self._wakeup = None
            wakeup.close()
            connections.close_all()
            self.has_ended = True
            self._on_end(self)

    def wake(self) -> None:
        """End its sleep."""
        with self._lock:
            if self._wakeup:
                self._wakeup.wake()


def _exit_code(threads: list[SlotThread]) -> int:
    for thread in threads:
        if thread.error:
            raise thread.error
    return next((thread.exit_code for thread in threads if thread.exit_code != DONE), DONE)
