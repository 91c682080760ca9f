"""What a worker is told, such as which lanes to serve and how long to sleep, and how it is told."""

from __future__ import annotations

import json
import os
import socket
import uuid
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from django.db import connections

from ..conf import settings
from ..databases import Filters

# Tells a process of `jobs_work` that it is a worker.
ENVIRONMENT_VARIABLE = "DJANGO_DELAYED_WORKER"
# Exit codes of a worker; 3 is what Django's autoreloader uses.
DONE, CODE_HAS_CHANGED, USED_UP, CANNOT_FORK = 0, 3, 4, 5


def new_worker_id() -> str:
    """A random id: a worker with the id of a dead one would hold its jobs."""
    return uuid.uuid4().hex


def process_that_serves(what: str, name: str = "") -> str:
    """This process, its name and what it serves, for the line that says that it has started."""
    database = connections[settings.DATABASE]
    return (
        f"{name and f'name:{name} '}host:{socket.gethostname()} pid:{os.getpid()}, {what},"
        f" database {settings.DATABASE} ({database.vendor} {database.settings_dict['NAME']})"
    )


@dataclass(frozen=True)
class Configuration:
    """What a worker serves and how: its filters, how long it sleeps, how many rows it claims at most.

    `verbosity` and `quiet` say what it writes to its terminal. After `max_jobs`, and when it has taken more
    than `max_memory` bytes, another worker takes its place. It performs as many jobs at once as it has
    `threads`; a single one is its main thread. `name` is for people. With `isolate`, it forks a process for
    each job.
    """

    filters: Filters = Filters()
    sleep_delay: timedelta = timedelta(seconds=5)
    read_ahead: int = 500
    verbosity: int = 1
    quiet: bool = False
    max_jobs: int | None = None
    max_memory: int | None = None
    threads: int = 1
    name: str = ""
    isolate: bool = False

    def __str__(self) -> str:
        """The lanes that it serves, and with how many threads if there are several."""
        return f"{self.filters}, {self.threads} threads" if self.threads > 1 else str(self.filters)

    def process(self) -> str:
        """This process and what it serves, for the line that says that it has started."""
        return process_that_serves(str(self), self.name)


@dataclass(frozen=True)
class Start:
    """All that a new worker process is told by its supervisor, as JSON in its environment.

    `activity`, `supervisor` and `wakeup` are inherited file descriptors: the shared page, the end of a pipe
    that closes when the supervisor is gone, and what wakes the supervisor. `started` is in seconds of the
    epoch.
    """

    worker: str
    configuration: Configuration
    activity: int
    supervisor: int
    wakeup: int
    started: float

    def dump(self) -> str:
        """The JSON."""
        data = asdict(self)
        data["configuration"]["sleep_delay"] = self.configuration.sleep_delay.total_seconds()
        return json.dumps(data)

    @classmethod
    def load(cls, text: str) -> Start:
        """The start that `dump` wrote."""
        data: dict[str, Any] = json.loads(text)
        given = data.pop("configuration")
        filters = Filters(**{**given["filters"], "queues": tuple(given["filters"]["queues"])})
        sleep_delay = timedelta(seconds=given["sleep_delay"])
        configuration = Configuration(**{**given, "filters": filters, "sleep_delay": sleep_delay})
        return cls(configuration=configuration, **data)
