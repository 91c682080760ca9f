"""`manage.py jobs_retry`: failed jobs are ready again."""

from __future__ import annotations

from datetime import timedelta

from django.core.management.base import CommandParser

from ...operations import RETRY
from ...states import State
from ..arguments import seconds
from ..moves import MoveCommand


class Command(MoveCommand):
    help = "Retry failed jobs: they are ready at once and have all their attempts again."
    operation = RETRY
    states = (State.FAILED,)
    done = "retried"

    def add_arguments(self, parser: CommandParser) -> None:
        """The filters of the admin's list, and when the jobs fall due."""
        super().add_arguments(parser)
        parser.add_argument(
            "--spread",
            type=seconds,
            default=timedelta(0),
            metavar="SECONDS",
            help="Over how much time the jobs fall due (default: all at once).",
        )
