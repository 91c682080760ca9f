"""`manage.py jobs_clear`: remove jobs from the queue."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ...databases import DatabaseNow
from ...models import all_rows
from ...states import DelayedJobQuerySet
from ...stats import count_by_state
from ..arguments import add_queues, queues_of, seconds, span_of
from ..base import QueueCommand, require_tables
from ..question import add_noinput, confirm
from ..queues import in_queues


class Command(QueueCommand):
    """Prints what it would remove, and asks. It never removes a running job."""

    help = "Remove delayed jobs: all that are not running, or some of them."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which jobs, and whether to ask."""
        add_queues(parser, "Jobs of these queues only")
        parser.add_argument("--failed", action="store_true", help="Failed jobs only.")
        parser.add_argument(
            "--older-than",
            type=seconds,
            metavar="SECONDS",
            help=(
                "Only jobs that were enqueued longer ago than this; with --failed, those that failed longer"
                " ago. For example 90 (seconds) or 90 00:00:00 (days, hours, minutes, seconds)."
            ),
        )
        add_noinput(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Count, ask, discard."""
        require_tables()
        rows = self._chosen(options)
        counts = {state: count for state, count in count_by_state(rows).items() if count}
        for state, count in counts.items():
            self.stdout.write(f"{count:>9,} {state.label}{' (stay)' if state == 'running' else ''}")
        if not sum(count for state, count in counts.items() if state != "running"):
            self.stdout.write("There is no job to remove.")
            return
        confirm("Remove these jobs for good?", "Nothing was removed", options)
        removed = rows.discard()
        self.stdout.write(self.style.SUCCESS(f"{removed:,} job{'' if removed == 1 else 's'} removed."))

    def _chosen(self, options: dict[str, Any]) -> DelayedJobQuerySet:
        rows = all_rows()
        if options["failed"]:
            rows = rows.failed()
        rows = in_queues(rows, queues_of(options))
        if options["older_than"] is not None:
            since = "failed_at__lt" if options["failed"] else "created_at__lt"
            rows = rows.filter(**{since: DatabaseNow(plus=-span_of(options["older_than"], "older_than"))})
        return rows
