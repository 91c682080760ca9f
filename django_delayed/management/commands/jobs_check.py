"""`manage.py jobs_check`: is the queue healthy? For cron and for probes."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError, CommandParser
from django.db import Error as DatabaseError
from django.db import connections

from ...conf import settings
from ...databases import Filters, database, missing_parts, unapplied_migrations
from ...models import DelayedJob
from ...stats import lanes, latency, snapshot
from ...worker.availability import migrate_command
from ..arguments import add_queues, queues_of, seconds, span_of
from ..base import UNKNOWN, QueueCommand, require_tables
from ..queues import warn_of_unknown_queues

WARN_ABOVE_LANES = 200  # claims slow down with more
OLD_TRANSACTION = timedelta(minutes=5)  # a worker may have performed a million jobs meanwhile
LATE = 1  # exit code


@dataclass
class Report:
    """What --json writes.

    `status` is "ok", "late" or "unreadable". `oldest` is how many seconds the oldest due job of the checked
    queues has waited, `error` the sentence that goes with an exit code, `numbers` the numbers of all queues.
    """

    max_age: float
    status: str = "unreadable"
    oldest: float | None = None
    error: str | None = None
    warnings: list[str] = field(default_factory=list)
    numbers: dict[str, Any] | None = None


class Command(QueueCommand):
    """Exit code 0: no job is late; 1: some are, or tables are missing; 2: the database is unavailable."""

    help = (
        "Check that no delayed job has been due for too long. Exit code 1 if one has been or tables are"
        " missing, 2 if the database is unavailable."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """How late is too late, and in which queues."""
        parser.add_argument(
            "--max-age",
            type=seconds,
            # The default of delayed_job's jobs:check.
            default=timedelta(minutes=5),
            metavar="SECONDS",
            help="How long a job may have been due without being performed (default: 300).",
        )
        add_queues(parser, "Check these queues only")
        parser.add_argument(
            "--json",
            action="store_true",
            help="Write one JSON object: what was found, the warnings, and the numbers of the queue.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Check, and say what was found. Raises CommandError with the exit code."""
        self.warnings: list[str] | None = [] if options["json"] else None
        most = span_of(options["max_age"], "max_age")
        report = Report(max_age=most.total_seconds())
        try:
            sentence = self.check_queue(Filters(queues_of(options)), most, report)
        except CommandError as error:
            report.error = str(error)
            raise
        finally:
            if self.warnings is not None:
                report.warnings = self.warnings
                self.stdout.write(json.dumps(asdict(report)))
        if self.warnings is None:
            self.stdout.write(sentence)

    def check_queue(self, filters: Filters, most: timedelta, report: Report) -> str:
        """Fill the report in. Returns a sentence for people; raises CommandError."""
        try:
            waited = self.look(filters)
            if self.warnings is not None:
                report.numbers = snapshot().as_json()
        except DatabaseError as error:
            require_tables()
            with suppress(DatabaseError):
                self.warn_of_schema()
            raise CommandError(f"The queue cannot be read: {error}", returncode=UNKNOWN) from error
        report.status, report.oldest = ("late" if waited > most else "ok"), waited.total_seconds()
        if waited > most:
            raise CommandError(
                f"A job has been due for {waited.total_seconds():,.0f} s, more than "
                f"{most.total_seconds():,.0f} s: no worker has claimed it. Does jobs_work serve its queue?",
                returncode=LATE,
            )
        if waited:
            return f"No job is late; the oldest has been due for {waited.total_seconds():,.0f} s."
        return "No job is late; none is due."

    def look(self, filters: Filters) -> timedelta:
        """How long the oldest due job has waited. Warns of each thing that is wrong.

        Scheduled, running and failed jobs are in no lane, so they are never late.
        """
        waited = latency(filters)
        warn_of_unknown_queues(filters.queues)
        self.warn_of_lanes()
        self.warn_of_pauses(filters)
        self.warn_of_transaction()
        self.warn_of_schema()
        return waited

    def warn_of_lanes(self) -> None:
        """Warn of more lanes than a claim should look through."""
        if (number := len(lanes())) > WARN_ABOVE_LANES:
            self.warn(
                f"{number} pairs of queue and priority have waiting jobs; beyond {WARN_ABOVE_LANES}, claims"
                " slow down."
            )

    def warn_of_pauses(self, filters: Filters) -> None:
        """Warn of paused queues: jobs that wait there for too long are late like any others."""
        if paused := sorted({lane.queue for lane in lanes(filters) if lane.is_paused}):
            self.warn(f"Paused, with waiting jobs until jobs_resume: {', '.join(paused)}.")

    def warn_of_transaction(self) -> None:
        """Warn of a transaction that makes the database keep the rows of performed jobs."""
        oldest = database(connections[settings.DATABASE]).oldest_transaction()
        if oldest and oldest.age > OLD_TRANSACTION:
            self.warn(
                f"A transaction has been open for {oldest.age.total_seconds():,.0f} s ({oldest.session})."
                " Until it ends, the database keeps the rows of performed jobs, and claims slow down."
            )

    def warn_of_schema(self) -> None:
        """Warn of tables that are not as the migrations make them."""
        connection, app = connections[settings.DATABASE], DelayedJob._meta.app_label
        for name in unapplied_migrations(connection, app):
            self.warn(f"The migration {name} of {app} is not applied: run `{migrate_command()}`.")
        for sentence in missing_parts(connection, apps.get_app_config(app).get_models()):
            self.warn(sentence)

    def warn(self, sentence: str) -> None:
        """Write a warning, which does not change the exit code, or keep it for the JSON."""
        if self.warnings is not None:
            self.warnings.append(sentence)
            return
        self.stderr.write(self.style.WARNING(sentence))
