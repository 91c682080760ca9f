"""The process that claims and performs, started and watched by a parent."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from datetime import timedelta

from django.db import connections
from django.utils.autoreload import get_child_arguments

from ..conf import settings
from ..databases import Filters
from .activity import Activity
from .reload import CodeWatch
from .shutdown import Shutdown
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
        self.activity = Activity()
        self.started = time.monotonic()
        self.overdue = False

    def start(self) -> None:
        """Start the process: by exec, for a fork would share open connections."""
        # Never written to: the child reads its end of it, and reads the end of file when this process is no more.
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
        """Let go of what is left of a process that has ended."""
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


def run_child(orders: str) -> int:
    """Be the child: work until told to stop; returns the exit code."""
    given = json.loads(orders)
    filters = Filters(**{**given["filters"], "queues": tuple(given["filters"]["queues"])})
    configuration = Configuration(filters, timedelta(seconds=given["sleep_delay"]), given["read_ahead"])
    code = CodeWatch(since=given["started"]) if settings.RELOAD else None
    faulthandler.register(signal.SIGQUIT)
    wakeup = Wakeup()
    with Shutdown() as shutdown:
        _follow(given["life_line"], given["worker"], shutdown, wakeup)
        activity = Activity(given["activity"])
        worker = Worker(given["worker"], configuration, wakeup, shutdown, activity, code=code)
        changed = worker.run()
    connections.close_all()
    return CODE_HAS_CHANGED if changed else DONE


def _follow(life_line: int, worker: str, shutdown: Shutdown, wakeup: Wakeup) -> None:
    """Stop when the parent is gone; give back and go when the job in hand does not end in time."""

    def wait_for_the_end() -> None:
        os.read(life_line, 1)
        shutdown.request()
        wakeup.wake()
        time.sleep(settings.SHUTDOWN_TIMEOUT.total_seconds())
        try:
            bury(worker)
        finally:
            os._exit(1)

    threading.Thread(target=wait_for_the_end, name="django_delayed life line", daemon=True).start()
