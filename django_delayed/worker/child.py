"""The process that claims and performs, started and watched by a parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.db import connections
from django.utils.autoreload import get_child_arguments

from ..conf import settings
from ..databases import Filters
from .activity import Activity
from .patience import patiently
from .reload import CodeWatch
from .shutdown import Shutdown
from .stacks import dump_on_quit
from .upkeep import bury
from .wakeup import Wakeup
from .worker import Configuration, Worker, new_worker_id

ORDERS = "DJANGO_DELAYED_CHILD"  # the environment variable by which a child learns what it is
DONE, CODE_HAS_CHANGED = 0, 3  # exit codes; 3 is what Django's own autoreloader uses


class Child:
    """A worker process as its parent sees it."""

    def __init__(self, configuration: Configuration) -> None:
        self.worker = new_worker_id()
        self.configuration = configuration
        self.started = time.monotonic()

    def start(self) -> None:
        """Start the process: by exec, for a fork would share open connections."""
        self.activity = Activity()
        self.activity.beat(time.time())  # as its row was written just now
        # Never written to: the child finds the end of the file when this process is no more.
        reader, self._life_line = os.pipe()
        orders = {
            "worker": self.worker,
            "activity": self.activity.fd,
            "life_line": reader,
            "started": time.time(),
            **_dump(self.configuration),
        }
        self.process = subprocess.Popen(
            _command(),
            env={**os.environ, ORDERS: json.dumps(orders)},
            pass_fds=(self.activity.fd, reader),
            start_new_session=True,  # Ctrl-C in a terminal is for the parent, which tells us
        )
        os.close(reader)

    def stop(self) -> None:
        """Ask it to finish its job and end."""
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it now."""
        self.process.kill()

    def close(self) -> None:
        """Let go of what is left of a process that has ended, or leave one to itself: it will end."""
        os.close(self._life_line)
        self.activity.close()


def _command() -> list[str]:
    """The command line that started this process, with all that the project's manage.py does."""
    if sys.argv[1:2] == ["jobs_work"]:
        return get_child_arguments()
    return [sys.executable, "-m", "django", "jobs_work"]


def _dump(configuration: Configuration) -> dict[str, object]:
    return {
        "filters": asdict(configuration.filters),
        "sleep_delay": configuration.sleep_delay.total_seconds(),
        "read_ahead": configuration.read_ahead,
    }


def _load(given: dict[str, Any]) -> Configuration:
    filters = Filters(**{**given["filters"], "queues": tuple(given["filters"]["queues"])})
    return Configuration(filters, timedelta(seconds=given["sleep_delay"]), given["read_ahead"])


def run_child(orders: str) -> int:
    """Be the child: work until told to stop; returns the exit code."""
    given = json.loads(orders)
    for inherited in (given["activity"], given["life_line"]):
        os.set_inheritable(
            inherited, False
        )  # by us; the programs that a job starts have no business with them
    dump_on_quit()
    wakeup, activity = Wakeup(), Activity(given["activity"])
    code = CodeWatch(since=given["started"]) if settings.RELOAD else None
    with Shutdown() as shutdown:
        worker = Worker(given["worker"], _load(given), wakeup, shutdown, activity, code=code)
        life_line = LifeLine(given["life_line"], worker)
        life_line.start()
        activity.be_ready()
        changed = worker.run()
        life_line.leave()
    connections.close_all()
    wakeup.close()
    return CODE_HAS_CHANGED if changed else DONE


class LifeLine(threading.Thread):
    """Stops a worker whose parent is gone; gives back and goes when the job in hand does not end in time."""

    def __init__(self, fd: int, worker: Worker) -> None:
        super().__init__(name="django_delayed life line", daemon=True)
        self._fd = fd
        self._worker = worker
        self._is_cut = False

    def run(self) -> None:
        """Wait for the parent's end."""
        os.read(self._fd, 1)
        self._is_cut = True
        self._worker.shutdown.request()
        self._worker.wakeup.wake()
        time.sleep(settings.SHUTDOWN_TIMEOUT.total_seconds())
        try:
            bury(self._worker.id)
        finally:
            os._exit(1)

    def leave(self) -> None:
        """The worker has ended; its row is the parent's to remove, as long as there is one."""
        if self._is_cut:
            patiently(lambda: bury(self._worker.id), self._worker.wakeup, lambda: False)
