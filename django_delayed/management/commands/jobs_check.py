"""`manage.py jobs_check`: is the queue healthy? For cron and for probes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseTrouble

from ...databases import Filters
from ...stats import lanes, latency
from ..worker_command import add_queues, queues_of, require_tables, seconds, span_of

MANY_LANES = 200  # from here on a claim gets slower
LATE, UNKNOWN = 1, 2  # exit codes


class Command(BaseCommand):
    """Exit code 0: no job is late; 1: some are; 2: nobody can tell."""

    help = (
        "Check that no delayed job has been due for too long. Exit code 1 when one has, 2 when the database"
        " cannot be asked."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """How late is too late, and where."""
        parser.add_argument(
            "--max-age",
            type=seconds,
            default=timedelta(minutes=5),  # delayed_job's jobs:check
            metavar="SECONDS",
            help="How long a job may have been due without being performed (default: 300).",
        )
        add_queues(parser, "Look at these queues only")

    def handle(self, *args: Any, **options: Any) -> None:
        """Look at the lanes: scheduled, running and failed jobs are in none, and so are never late."""
        try:
            number, waited = len(lanes()), latency(Filters(queues_of(options)))
        except DatabaseTrouble as error:
            require_tables()
            raise CommandError(f"The queue cannot be asked: {error}", returncode=UNKNOWN) from error
        if number > MANY_LANES:
            self.stderr.write(
                self.style.WARNING(
                    f"{number} pairs of queue and priority have waiting jobs;"
                    f" beyond {MANY_LANES}, claims slow down."
                )
            )
        if waited > (most := span_of(options["max_age"], "max_age")):
            raise CommandError(
                f"A job has been due for {waited.total_seconds():,.0f} s, more than "
                f"{most.total_seconds():,.0f} s: no worker takes it.",
                returncode=LATE,
            )
        self.stdout.write(f"No job is late; the oldest has been due for {waited.total_seconds():,.0f} s.")
