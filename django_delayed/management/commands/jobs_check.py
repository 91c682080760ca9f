"""`manage.py jobs_check`: is the queue healthy? For cron and for probes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...databases import Filters
from ...stats import lanes, latency
from ..worker_command import names, seconds

MANY_LANES = 200  # from here on a claim gets slower


class Command(BaseCommand):
    """Exit code 0: no job is late; 1: some are."""

    help = "Check that no delayed job has been due for too long; exit with 1 when one has."
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
        parser.add_argument(
            "--queue",
            "--queues",
            dest="queues",
            type=names,
            default=(),
            metavar="A,B",
            help="Look at these queues only.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Look at the lanes: scheduled, running and failed jobs are in none, and so are never late."""
        served = Filters(queues=options["queues"])
        if (number := len(lanes())) > MANY_LANES:
            self.stderr.write(
                self.style.WARNING(
                    f"{number} pairs of queue and priority have waiting jobs; beyond 200, claims slow down."
                )
            )
        waited = latency(served)
        if waited > options["max_age"]:
            raise CommandError(
                f"A job has been due for {waited.total_seconds():,.0f} s, more than "
                f"{options['max_age'].total_seconds():,.0f} s: no worker takes it.",
                returncode=1,
            )
        self.stdout.write(f"No job is late; the oldest has been due for {waited.total_seconds():,.0f} s.")
