"""What the commands have in common: filters, the log in a terminal, a table that is not there yet."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseTrouble
from django.db import connections
from django.utils.dateparse import parse_duration

from ..conf import duration, settings
from ..databases import Filters
from ..models import DelayedJob
from ..worker.worker import Configuration

FOREVER = timedelta(days=365 * 100)  # what every database can still subtract from its clock


def seconds(text: str) -> timedelta:
    """A duration from the command line: seconds, or as "1:30:00". Raises ValueError."""
    try:
        span = parse_duration(text)
    except OverflowError:
        span = None
    if span is None or not timedelta(0) <= span <= FOREVER:
        raise ValueError(text)
    return span


def positive(text: str) -> int:
    """A whole number of at least 1 from the command line. Raises ValueError."""
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def names(text: str) -> tuple[str, ...]:
    """Queue names from the command line, separated by commas. Raises ValueError when there is none."""
    queues = tuple(name.strip() for name in text.split(",") if name.strip())
    if not queues:
        raise ValueError(text)
    return queues


def add_queues(parser: CommandParser, help: str) -> None:
    """The flag for the names of queues, the same for every command."""
    parser.add_argument(
        "--queue",
        "--queues",
        dest="queues",
        type=names,
        action="append",
        metavar="A,B",
        help=f"{help}; may be given several times.",
    )


def queues_of(options: dict[str, Any]) -> tuple[str, ...]:
    """The names that were given with that flag, or to call_command: "mail", "mail,index" or a list."""
    given = options["queues"] or ()
    groups = [given] if isinstance(given, str) else given
    parsed = (names(group) if isinstance(group, str) else group for group in groups)
    return tuple(dict.fromkeys(name for group in parsed for name in group))


def span_of(value: Any, name: str) -> timedelta:
    """The duration that was given with a flag, or to call_command: seconds will do there, or a text."""
    return seconds(value) if isinstance(value, str) else duration(value, name)


def require_tables() -> None:
    """Raise CommandError when the tables are missing; a database that is away may have them."""
    try:
        present = connections[settings.DATABASE].introspection.table_names()
    except DatabaseTrouble:
        return
    if DelayedJob._meta.db_table not in present:
        raise CommandError(
            f"The database {settings.DATABASE!r} has no table {DelayedJob._meta.db_table}:"
            " run `manage.py migrate` first."
        )


class WorkerCommand(BaseCommand):
    """A command that performs jobs. Flags win over the environment, and that over settings."""

    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        """The filters of a worker."""
        add_queues(parser, "Serve these queues only. Environment: QUEUES, QUEUE")
        for bound, number in (("min", "lower"), ("max", "higher")):
            parser.add_argument(
                f"--{bound}-priority",
                type=int,
                metavar="N",
                help=f"Leave jobs of a {number} number. Environment: {bound.upper()}_PRIORITY.",
            )
        parser.add_argument(
            "--sleep-delay",
            type=seconds,
            metavar="SECONDS",
            help="Sleep at most this long when nothing is ready; 0: make one pass, then exit."
            " Environment: SLEEP_DELAY.",
        )
        parser.add_argument(
            "--read-ahead",
            type=positive,
            metavar="N",
            help="Claim at most so many jobs at once. Environment: READ_AHEAD.",
        )
        parser.add_argument("--quiet", action="store_true", help="Write no log to the terminal.")

    def configuration(self, options: dict[str, Any]) -> Configuration:
        """What the flags, the environment and the settings say. Raises CommandError for nonsense."""
        queues = queues_of(options) or _from_environment("QUEUES", names) or _from_environment("QUEUE", names)
        lowest = _chosen(options["min_priority"], "MIN_PRIORITY", int, None)
        highest = _chosen(options["max_priority"], "MAX_PRIORITY", int, None)
        if lowest is not None and highest is not None and lowest > highest:
            raise CommandError(
                f"The lowest priority to serve, {lowest}, is above the highest, {highest}:"
                " no job is between them."
            )
        return Configuration(
            Filters(tuple(dict.fromkeys(queues or ())), lowest, highest),
            span_of(
                _chosen(options["sleep_delay"], "SLEEP_DELAY", seconds, settings.SLEEP_DELAY), "sleep_delay"
            ),
            _chosen(options["read_ahead"], "READ_AHEAD", positive, settings.READ_AHEAD),
        )

    def log_to_terminal(self, options: dict[str, Any]) -> None:
        """Show the log of a project that does not say where it goes: from INFO on, from DEBUG with -v 2."""
        logger = logging.getLogger("django_delayed")
        if logger.hasHandlers():
            return
        # Without any handler, logging's last resort would write the failures to stderr all the same.
        handler = logging.NullHandler() if options["quiet"] else logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG if options["verbosity"] > 1 else logging.INFO)


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
        raise CommandError(f"The environment variable {variable} has an invalid value: {text!r}.") from None
