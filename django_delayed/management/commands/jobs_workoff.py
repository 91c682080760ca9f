"""`manage.py jobs_workoff`: perform what is ready, then exit."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import CommandError, CommandParser, OutputWrapper

from ...execution.outcomes import Cancelled, Discarded, Finished, Outcome, Released, Snoozed
from ...worker.work_off import work_off
from ..base import WorkerCommand, require_tables, require_worker
from ..queues import warn_of_unknown_queues

REDRAW = 0.1  # seconds between two drawings of the progress


class Command(WorkerCommand):
    """Works in this process; with --fail-on-error, the exit code tells whether a job failed."""

    help = "Perform the delayed jobs that are ready, and those that fall due meanwhile, then exit."

    def add_arguments(self, parser: CommandParser) -> None:
        """The filters of a worker, and the exit code."""
        super().add_arguments(parser)
        parser.add_argument(
            "--fail-on-error", action="store_true", help="Exit with 1 when an attempt failed."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Work; a terminal shows a line of progress instead of the log."""
        require_worker()
        configuration = self.configuration(options)
        require_tables()
        in_terminal = self.stdout.isatty() and options["verbosity"] == 1 and not options["quiet"]
        progress = Progress(self.stdout if in_terminal else None)
        with self.shown_in_terminal(
            configuration.process(), {**options, "quiet": options["quiet"] or in_terminal}
        ):
            warn_of_unknown_queues(configuration.filters.queues)
            completed = work_off(configuration, on_settled=progress.count)
        if not options["quiet"]:
            self.stdout.write(f"\r{progress}" if in_terminal else str(progress))
        if not completed:
            self.stderr.write("Stopped before all jobs were performed.")
        if options["fail_on_error"] and progress.failed:
            raise CommandError(f"{progress.failed} of {progress.performed} attempts failed.", returncode=1)


class Progress:
    """How many jobs were performed, and how many failed, were discarded or cancelled, on one line."""

    def __init__(self, terminal: OutputWrapper | None) -> None:
        self.terminal = terminal
        self.performed = self.failed = self.discarded = self.cancelled = 0
        self._began = time.monotonic()
        self._draw()

    def __str__(self) -> str:
        took = time.monotonic() - self._began
        jobs = "job" if self.performed == 1 else "jobs"
        rare = {"discarded": self.discarded, "cancelled": self.cancelled}
        others = "".join(f", {number} {how}" for how, number in rare.items() if number)
        return f"{self.performed} {jobs} performed in {took:.1f} s, {self.failed} failed{others}"

    def count(self, outcome: Outcome) -> None:
        """Count one more attempt that has ended."""
        if isinstance(outcome, Released | Snoozed):
            return
        self.performed += 1
        self.failed += not isinstance(outcome, Finished | Discarded | Cancelled)
        self.discarded += isinstance(outcome, Discarded)
        self.cancelled += isinstance(outcome, Cancelled)
        if time.monotonic() - self._drawn > REDRAW:
            self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        if self.terminal:
            self.terminal.write(f"\r{self}", ending="")
            self.terminal.flush()
