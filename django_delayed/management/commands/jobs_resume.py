"""`manage.py jobs_resume`: workers claim jobs of these queues again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandParser

from ...models import all_paused
from ...operations import resume
from ..arguments import UsageError
from ..pauses import PauseCommand
from ..queues import warn_of_unknown_queues


class Command(PauseCommand):
    help = "Resume queues that jobs_pause, or somebody in the admin, has paused."
    done, unchanged = "resumed", "is not paused"

    def add_arguments(self, parser: CommandParser) -> None:
        """The names of queues, or that all are meant."""
        parser.add_argument("queues", nargs="*", metavar="QUEUE", help="The name of a queue.")
        parser.add_argument("--all", action="store_true", help="All queues that are paused.")

    def queues(self, options: dict[str, Any]) -> list[str]:
        """Those that are named, or all that are paused."""
        if options["all"] == bool(options["queues"]):
            raise UsageError("Name queues, or give --all for all that are paused; not both.")
        if options["all"]:
            return [str(queue) for queue in all_paused().order_by("pk")]
        return super().queues(options)

    def change(self, queues: Sequence[str]) -> list[str]:
        changed = resume(queues)
        # A queue that was paused has a right name: no warning for it.
        warn_of_unknown_queues([queue for queue in queues if queue not in changed])
        return changed
