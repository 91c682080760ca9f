"""What the commands that perform jobs share: their arguments, and what they show in a terminal."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError
from django.db import connections

from ..conf import settings
from ..databases import Filters
from ..databases.sessions import without_pools
from ..execution.session import Session
from ..models import DelayedJob
from ..worker.availability import UNAVAILABLE, migrate_command
from ..worker.configuration import ENVIRONMENT_VARIABLE, Configuration
from ..worker.requirements import why_no_worker
from .arguments import UsageError, add_queues, names, positive, queues_of, require_order, seconds, span_of
from .terminal import log_in_terminal, terminal_shows

UNKNOWN = 2  # exit code: the queue cannot be read


def require_tables() -> None:
    """Raise CommandError when the tables are missing. A database that is unavailable may have them."""
    try:
        present = connections[settings.DATABASE].introspection.table_names()
    except DatabaseError:
        return
    if DelayedJob._meta.db_table not in present:
        raise CommandError(
            f"The database {settings.DATABASE!r} has no table {DelayedJob._meta.db_table}:"
            f" run `{migrate_command()}` first."
        )


def require_worker() -> None:
    """Raise CommandError when no worker can run in this process."""
    if reason := why_no_worker():
        raise CommandError(reason)


class QueueCommand(BaseCommand):
    """A command about jobs: what its output cannot encode, such as an umlaut, is written as an escape."""

    def execute(self, *args: Any, **options: Any) -> Any:
        """As Django's."""
        with _escapes_written(options.get("stdout") or self.stdout, sys.stdout):
            return super().execute(*args, **options)


@contextmanager
def _escapes_written(*streams: Any) -> Iterator[None]:
    """A block in which these streams raise no UnicodeEncodeError."""
    before = [
        (stream, stream.errors)
        for stream in streams
        if getattr(stream, "errors", None) in ("strict", "surrogateescape") and hasattr(stream, "reconfigure")
    ]
    for stream, _ in before:
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, errors in before:
            stream.reconfigure(errors=errors)


class WorkerCommand(QueueCommand):
    """A command that performs jobs. Flags win over the environment, the environment over the settings."""

    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        """The filters of a worker."""
        add_queues(parser, "Serve these queues only. Environment: QUEUES, QUEUE")
        in_order = "Serve the first of --queues before the second, and so on, whatever the priorities."
        parser.add_argument("--in-order", action="store_true", help=in_order)
        for bound, number in (("min", "lower"), ("max", "higher")):
            parser.add_argument(
                f"--{bound}-priority",
                type=int,
                metavar="N",
                help=f"Leave jobs with a {number} number. Environment: {bound.upper()}_PRIORITY.",
            )
        parser.add_argument(
            "--sleep-delay",
            type=seconds,
            metavar="SECONDS",
            help="Sleep at most this long when nothing is ready; 0: exit then. Environment: SLEEP_DELAY.",
        )
        parser.add_argument(
            "--read-ahead",
            type=positive,
            metavar="N",
            help="Claim at most this many jobs at once. Environment: READ_AHEAD.",
        )
        parser.add_argument("--quiet", action="store_true", help="Write no log to the terminal.")

    def check(self, *args: Any, **options: Any) -> None:
        """As Django's, but not in a worker that a supervisor starts, and not without the database.

        On MySQL and MariaDB, some of Django's checks ask the database for its version.
        """
        if ENVIRONMENT_VARIABLE in os.environ:
            return
        try:
            super().check(*args, **options)
        except UNAVAILABLE as error:
            self.stderr.write(f"The system checks were not run: the database is unavailable: {error}")

    def execute(self, *args: Any, **options: Any) -> Any:
        """As Django's, with connections of its own: not those of a pool, nor those that users' code keeps."""
        with without_pools(), Session(keeps=False):
            return super().execute(*args, **options)

    def configuration(self, options: dict[str, Any]) -> Configuration:
        """What the flags, the environment and the settings say. Raises CommandError for invalid values."""
        queues = queues_of(options) or _from_environment("QUEUES", names) or _from_environment("QUEUE", names)
        queues = tuple(dict.fromkeys(queues or ()))
        if options["in_order"] and not options.get("pools"):
            require_order(queues)
        lowest = _chosen(options["min_priority"], "MIN_PRIORITY", int, None)
        highest = _chosen(options["max_priority"], "MAX_PRIORITY", int, None)
        if lowest is not None and highest is not None and lowest > highest:
            raise UsageError(
                f"The lowest priority, {lowest}, is above the highest, {highest}: no job is between them."
            )
        sleep_delay = _chosen(options["sleep_delay"], "SLEEP_DELAY", seconds, settings.SLEEP_DELAY)
        return Configuration(
            Filters(queues, lowest, highest, options["in_order"]),
            span_of(sleep_delay, "sleep_delay"),
            _chosen(options["read_ahead"], "READ_AHEAD", positive, settings.READ_AHEAD),
            options["verbosity"],
            options["quiet"],
        )

    @contextmanager
    def shown_in_terminal(self, process: str, options: dict[str, Any]) -> Iterator[None]:
        """A block in which the terminal shows the log, or that this process has started, unless quiet."""
        with log_in_terminal(options["verbosity"], options["quiet"]):
            if not options["quiet"] and not terminal_shows(logging.INFO):
                self.stdout.write(f"Started: {process}. The log goes where LOGGING says.")
            yield


def _chosen(flag: Any, variable: str, parse: Callable[[str], Any], default: Any) -> Any:
    if flag is not None:
        return flag
    value = _from_environment(variable, parse)
    return default if value is None else value


def _from_environment(variable: str, parse: Callable[[str], Any]) -> Any:
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    try:
        return parse(text)
    except ValueError:
        raise UsageError(f"The environment variable {variable} has an invalid value: {text!r}.") from None
