"""The worker process of `jobs_work`, from its start to its exit code."""

from __future__ import annotations

import logging
import os
import threading
import time
from functools import partial

from django.db import connections

from ..conf import settings
from ..signals import busy_seconds_summed_up
from .activity import Activity
from .availability import is_permanent, repeat_while_unavailable
from .configuration import Start
from .ending import Ending
from .orphan import end_after
from .quiet import quiet_by_signal
from .recovery import release_and_deregister, release_and_exit
from .reload import CodeWatch
from .shutdown import Shutdown
from .slot import GRACE
from .stacks import dump_on_quit
from .threads import ThreadedWorker
from .titles import title_worker
from .wakeup import Wakeup, wake
from .worker import Worker

logger = logging.getLogger("django_delayed")


def run_worker(start: Start) -> int:
    """Work until told to stop. Returns the exit code."""
    for inherited in (start.activity, start.supervisor, start.wakeup):
        # For this process only, not for the programs that a job starts.
        os.set_inheritable(inherited, False)
    dump_on_quit()
    title_worker(start.configuration.threads)
    with busy_seconds_summed_up():
        return _work(start)


def _work(start: Start) -> int:
    wakeup, activity = Wakeup(), Activity(start.activity)
    watched = CodeWatch(since=start.started) if settings.RELOAD else None
    with Shutdown(is_supervised=True) as shutdown, quiet_by_signal(activity.be_quiet):
        ending = Ending(start.configuration, watched)
        kind = ThreadedWorker if start.configuration.threads > 1 else Worker
        worker = kind(start.worker, start.configuration, wakeup, shutdown, activity, ending=ending)
        worker.on_work = partial(wake, start.wakeup)
        watch = SupervisorWatch(start.supervisor, worker, activity)
        watch.begin()
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
    """Stops a worker when its supervisor is gone; ends its process if the job does not end in time."""

    def __init__(self, fd: int, worker: Worker | ThreadedWorker, activity: Activity) -> None:
        super().__init__(name="django_delayed supervisor watch", daemon=True)
        self._fd = fd
        self._worker = worker
        self._activity = activity
        self._supervisor_is_gone = False

    def begin(self) -> None:
        """Watch from now on.

        A worker that forks may have no thread: it looks at the pipe whenever it sleeps. It also sleeps while
        a job is performed, and kills the job itself if that does not end in time.
        """
        if self._worker.configuration.isolate:
            self._worker.wakeup.on_end_of(self._fd, self._stop_worker)
            return
        # In case a job keeps this thread from running.
        end_after(self._fd, (settings.SHUTDOWN_TIMEOUT + GRACE).total_seconds())
        self.start()

    def run(self) -> None:
        """Wait until the supervisor is gone."""
        # The supervisor writes nothing: read() returns when its end of the pipe is closed.
        os.read(self._fd, 1)
        self._stop_worker()
        self._worker.wakeup.wake()
        time.sleep(settings.SHUTDOWN_TIMEOUT.total_seconds())
        release_and_exit(self._worker.id, unsettled=self._activity.unsettled())

    def _stop_worker(self) -> None:
        self._supervisor_is_gone = True
        self._worker.shutdown.request()

    def worker_has_ended(self) -> None:
        """Remove the row of the worker, if there is no supervisor to remove it."""
        if self._supervisor_is_gone:
            unsettled = self._activity.unsettled()
            remove = partial(release_and_deregister, self._worker.id, unsettled=unsettled)
            repeat_while_unavailable(remove, self._worker.wakeup, is_permanent)
