"""`manage.py jobs_check`: is the queue healthy? For cron and for probes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import Error as DatabaseError

from ...databases import Filters
from ...stats import lanes, latency
from ..arguments import add_queues, queues_of, seconds, span_of
from ..base import QueueCommand, require_tables
from ..queues import warn_of_unknown_queues

WARN_ABOVE_LANES = 200  # claims get slower from there on
LATE, UNKNOWN = 1, 2  # exit codes


class Command(QueueCommand):
    """Exit code 0: no job is late; 1: some are; 2: the database is unavailable."""

    help = (
        "Check that no delayed job has been due for too long. Exit code 1 if one has been, 2 if the database"
        " is unavailable."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """How late is too late, and in which queues."""
        parser.add_argument(
            "--max-age",
            type=seconds,
            # As delayed_job's jobs:check.
            default=timedelta(minutes=5),
            metavar="SECONDS",
            help="How long a job may have been due without being performed (default: 300).",
        )
        add_queues(parser, "Check these queues only")

    def handle(self, *args: Any, **options: Any) -> None:
        """Check the lanes. Scheduled, running and failed jobs are in none, so they are never late."""
        try:
            filters = Filters(queues_of(options))
            number, waited = len(lanes()), latency(filters)
            warn_of_unknown_queues(filters)
        except DatabaseError as error:
            require_tables()
            raise CommandError(f"The queue cannot be read: {error}", returncode=UNKNOWN) from error
        if number > WARN_ABOVE_LANES:
            self.stderr.write(
                self.style.WARNING(
                    f"{number} pairs of queue and priority have waiting jobs;"
                    f" beyond {WARN_ABOVE_LANES}, claims slow down."
                )
            )
        if waited > (most := span_of(options["max_age"], "max_age")):
            raise CommandError(
                f"A job has been due for {waited.total_seconds():,.0f} s, more than "
                f"{most.total_seconds():,.0f} s: no worker has claimed it.",
                returncode=LATE,
            )
        if waited:
            self.stdout.write(f"No job is late; the oldest has been due for {waited.total_seconds():,.0f} s.")
        else:
            self.stdout.write("No job is late; none is due.")
