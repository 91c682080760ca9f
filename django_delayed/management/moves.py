"""What the commands that make an operator's moves share: which jobs, the question, the output."""

from __future__ import annotations

import getpass
import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar

from django.core.management.base import CommandError, CommandParser
from django.db import Error as DatabaseError

from ..models import all_rows
from ..operations import Operation
from ..states import DelayedJobQuerySet, State
from ..stats import count_by_state
from .arguments import Once, UsageError, add_queues, end_of, moment, moment_of, queues_of, span_of
from .base import UNKNOWN, QueueCommand, require_tables
from .question import add_noinput, confirm
from .queues import in_queues
from .terminal import log_in_terminal

MOMENTS = ("run_at", "failed_at", "created_at")
# Each flag with the condition on the column, and what it says.
TEXTS = {
    "name": ("name__startswith", "Jobs whose name begins with this."),
    "error_class": ("error_class", "Jobs with a last error of this class, such as ConnectionError."),
    "fingerprint": (
        "error_fingerprint",
        "Jobs with this error fingerprint, the value of cause= in the address of the admin's list.",
    ),
}

logger = logging.getLogger("django_delayed")


class MoveCommand(QueueCommand):
    """Counts the jobs that the filters find, asks, and moves those that it counted, in batches.

    Exit code 0: they were moved, or there was none; 1: the answer was not yes; 2: they cannot be read.
    """

    # On MySQL and MariaDB, some of Django's checks ask the database, and end with another exit code.
    requires_system_checks: list[str] = []

    operation: ClassVar[Operation]
    states: ClassVar[tuple[State, ...]]  # in which a job can be moved
    done: ClassVar[str]

    def add_arguments(self, parser: CommandParser) -> None:
        """The filters of the admin's list, and whether to ask."""
        if len(self.states) > 1:
            choices = [state.value for state in self.states]
            parser.add_argument("--state", choices=choices, action=Once, help="Jobs in this state.")
        add_queues(parser, "Jobs of these queues")
        for name, (_, help) in TEXTS.items():
            parser.add_argument(f"--{name.replace('_', '-')}", metavar="TEXT", help=help)
        for name in MOMENTS:
            for bound, which, parse in (("from", "earliest", moment), ("to", "latest", end_of)):
                parser.add_argument(
                    f"--{name.replace('_', '-')}-{bound}",
                    type=parse,
                    metavar="MOMENT",
                    help=f"The {which} {name}: a date, or a date and a time.",
                )
        parser.add_argument("--dry-run", action="store_true", help="Only count the jobs, and move none.")
        add_noinput(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Count, ask, move."""
        require_tables()
        spread = span_of(options.get("spread", 0), "spread")
        conditions = dict(self.conditions(options))
        queues = queues_of(options)
        names = {"queue": ",".join(queues), **conditions, "state": options.get("state")}
        where = " and ".join(f"{name}={value}" for name, value in names.items() if value)
        try:
            rows = in_queues(all_rows().filter(**conditions), queues)
            if not (options["error_class"] or options["fingerprint"]):
                rows = self.operation.among_all(rows)
            if state := options.get("state"):
                rows = rows.in_state(State(state))
            ids = self.operation.ids(rows)
            self.show(rows, ids, where)
        except DatabaseError as error:
            raise CommandError(f"The jobs cannot be read: {error}", returncode=UNKNOWN) from error
        if not ids or options["dry_run"]:
            return
        confirm(f"{self._jobs(len(ids))} will be {self.done}.", f"No job was {self.done}", options)
        with log_in_terminal(options["verbosity"], quiet=options["verbosity"] == 0):
            self._move(ids, where, spread)

    def conditions(self, options: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """The lookups that the flags ask for. Raises CommandError for an empty flag."""
        # A script with an empty variable must not move every job.
        for name in ("queues", *TEXTS):
            if options[name] is not None and not options[name]:
                flag = f"--{name.replace('_', '-')}"
                raise UsageError(f"{flag} is empty. Leave it out to move jobs with any value.")
        for name, (condition, _) in TEXTS.items():
            if options[name]:
                yield condition, options[name]
        for name in MOMENTS:
            for bound, lookup, parse in (("from", "gte", moment), ("to", "lte", end_of)):
                if (value := options[f"{name}_{bound}"]) is not None:
                    yield f"{name}__{lookup}", moment_of(value, parse)

    def show(self, rows: DelayedJobQuerySet, ids: list[int], where: str) -> None:
        """Print how many rows may be moved, and that no filter is set."""
        if not ids:
            self.stdout.write(f"There is no job that can be {self.done}.")
            return
        if not where:
            self.stdout.write(f"No filter is set: these are all jobs that can be {self.done}.")
        # To count rows by state, every row is read: not if they can have only one.
        known = {self.states[0]: len(ids)} if len(self.states) == 1 else None
        for state, count in (known or count_by_state(self.operation.allowed(rows))).items():
            if count:
                self.stdout.write(f"{count:>9,} {state.value}")

    def _move(self, ids: list[int], where: str, spread: timedelta) -> None:
        self._log("begun", ids, where, spread)
        moved = self.operation.carry_out(ids, by=operator(), spread=spread)
        self._log(f"{moved} of {len(ids)}", ids, where, spread)
        self.stdout.write(self.style.SUCCESS(f"{self._jobs(moved)} {self.done}."))
        skipped = len(ids) - moved
        if equal := self.operation.left_out(ids) if skipped else 0:
            self.stdout.write(f"{self._jobs(equal)} skipped: an equal job waits.")
        if skipped > equal:
            self.stdout.write(f"{self._jobs(skipped - equal)} skipped: changed or gone meanwhile.")

    def _log(self, result: str, ids: list[int], where: str, spread: timedelta) -> None:
        # Not in the admin's log: an entry there needs a user of the site.
        logger.info("%s, by %s in a terminal", self.operation.report(result, ids, where, spread), operator())

    def _jobs(self, count: int) -> str:
        return f"{count:,} job{'' if count == 1 else 's'}"


def operator() -> str:
    """The name of who runs the command, for logs."""
    try:
        return getpass.getuser()
    # In a container, the process may run under an id that no user has.
    except (ImportError, KeyError, OSError):
        return "an unknown user"
