"""The worker process of `jobs_work`, from its start to its exit code."""

from __future__ import annotations

import logging
import os
import threading
import time

from django.db import connections

from ..conf import settings
from .activity import Activity
from .availability import is_permanent, repeat_while_unavailable
from .configuration import Start
from .recovery import release_and_deregister, release_and_exit
from .reload import CodeWatch
from .shutdown import Shutdown
from .stacks import dump_on_quit
from .wakeup import Wakeup
from .worker import Worker

logger = logging.getLogger("django_delayed")


def run_worker(start: Start) -> int:
    """Work until told to stop; returns the exit code."""
    for inherited in (start.activity, start.supervisor):
        # For this process only, not for the programs that a job starts.
        os.set_inheritable(inherited, False)
    dump_on_quit()
    wakeup, activity = Wakeup(), Activity(start.activity)
    watched = CodeWatch(since=start.started) if settings.RELOAD else None
    with Shutdown() as shutdown:
        worker = Worker(start.worker, start.configuration, wakeup, shutdown, activity, watched)
        watch = SupervisorWatch(start.supervisor, worker)
        watch.start()
        activity.be_ready()
        code = worker.run()
        watch.worker_has_ended()
    activity.leave()
    _report_threads()
    connections.close_all()
    wakeup.close()
    return code


def _report_threads() -> None:
    # Python waits for them before the process ends; the supervisor does not wait for long.
    others = (thread for thread in threading.enumerate() if thread is not threading.main_thread())
    left = [thread.name for thread in others if not thread.daemon]
    if left:
        logger.warning("Jobs have left threads running, which keep the worker from ending: %s", left)


class SupervisorWatch(threading.Thread):
    """Stops a worker whose supervisor is gone; ends the process if the current job does not end in time."""

    def __init__(self, fd: int, worker: Worker) -> None:
        super().__init__(name="django_delayed supervisor watch", daemon=True)
        self._fd = fd
        self._worker = worker
        self._supervisor_is_gone = False

    def run(self) -> None:
        """Wait until the supervisor is gone."""
        # The supervisor writes nothing: read() returns when its end of the pipe is closed.
        os.read(self._fd, 1)
        self._supervisor_is_gone = True
        self._worker.shutdown.request()
        self._worker.wakeup.wake()
        time.sleep(settings.SHUTDOWN_TIMEOUT.total_seconds())
        release_and_exit(self._worker.id)

    def worker_has_ended(self) -> None:
        """Remove the row of the worker, if there is no supervisor to remove it."""
        if self._supervisor_is_gone:
            repeat_while_unavailable(
                lambda: release_and_deregister(self._worker.id), self._worker.wakeup, is_permanent
            )
