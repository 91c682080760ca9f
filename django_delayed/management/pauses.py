"""What the commands that pause and resume queues share: which queues, and the output."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, ClassVar

from django.core.management.base import CommandError, CommandParser
from django.db import Error as DatabaseError

from .base import UNKNOWN, QueueCommand, require_tables
from .moves import operator
from .terminal import log_in_terminal

logger = logging.getLogger("django_delayed")


class PauseCommand(QueueCommand):
    """Changes whether workers claim jobs of some queues.

    Exit code 0: all these queues are paused or resumed now; 2: the database is unavailable.
    """

    requires_system_checks: list[str] = []

    done: ClassVar[str]
    unchanged: ClassVar[str]

    def add_arguments(self, parser: CommandParser) -> None:
        """The names of queues."""
        parser.add_argument("queues", nargs="+", metavar="QUEUE", help="The name of a queue.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Pause or resume the queues, and say which of them were so already."""
        require_tables()
        with log_in_terminal(options["verbosity"], quiet=options["verbosity"] == 0):
            try:
                queues = self.queues(options)
                changed = self.change(queues)
            except DatabaseError as error:
                raise CommandError(f"The queues cannot be read: {error}", returncode=UNKNOWN) from error
            except (TypeError, ValueError) as error:
                raise CommandError(str(error)) from error
            if changed:
                logger.info("Queues %s: %s, by %s in a terminal", self.done, ", ".join(changed), operator())
        for queue in queues:
            self.stdout.write(f"{queue}: {self.done if queue in changed else self.unchanged}")

    def queues(self, options: dict[str, Any]) -> list[str]:
        """The queues that the arguments name, each once."""
        return list(dict.fromkeys(options["queues"]))

    def change(self, queues: Sequence[str]) -> list[str]:
        """Pause or resume these queues. Returns the names of those that were not so already."""
        raise NotImplementedError
