"""`manage.py jobs_cancel`: running jobs are asked to end, and killed when they do not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser

from ...operations import CANCEL
from ...states import DelayedJobQuerySet, State
from ..arguments import positive
from ..moves import MoveCommand


class Command(MoveCommand):
    help = (
        "End running jobs: each is asked at its next should_stop(), and killed after SHUTDOWN_TIMEOUT. It is"
        " failed then, and not tried again. Jobs that wait are removed by jobs_discard."
    )
    operation = CANCEL
    states = (State.RUNNING,)
    done = "asked to end"

    def add_arguments(self, parser: CommandParser) -> None:
        """Ids, and the filters of the admin's list."""
        parser.add_argument(
            "ids", nargs="*", type=positive, metavar="ID", help="Only the jobs with these ids."
        )
        super().add_arguments(parser)

    def conditions(self, options: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """The conditions of every move, and the ids."""
        if options["ids"]:
            yield "pk__in", options["ids"]
        yield from super().conditions(options)

    def show(self, rows: DelayedJobQuerySet, ids: list[int], where: str) -> None:
        """As for every move; also names the command for jobs that wait."""
        super().show(rows, ids, where)
        if where and rows.waiting().exists():
            self.stdout.write("Some of these jobs wait, and do not run: jobs_discard removes them.")
