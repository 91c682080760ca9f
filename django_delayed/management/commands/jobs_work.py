"""`manage.py jobs_work`: perform jobs until told to stop."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser

from ...supervisor.command_line import worker_command
from ...supervisor.supervisor import Supervisor
from ...worker.configuration import ENVIRONMENT_VARIABLE, Start
from ...worker.main import run_worker
from ..base import WorkerCommand, require_tables, require_worker
from ..health import add_health, health
from ..queues import warn_of_unknown_queues
from ..terminal import log_in_terminal
from ..workers import add_limits, add_name, add_workers, configurations


class Command(WorkerCommand):
    """The supervisor; started by one, with an environment variable that says so, the worker."""

    help = "Perform delayed jobs until SIGTERM or SIGINT; then finish the current one and exit."

    def add_arguments(self, parser: CommandParser) -> None:
        """The filters of the workers, and how many there are."""
        super().add_arguments(parser)
        add_workers(parser)
        add_limits(parser)
        add_name(parser)
        add_health(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run as the supervisor, or as the worker that it started."""
        if text := os.environ.pop(ENVIRONMENT_VARIABLE, None):
            start = Start.load(text)
            with log_in_terminal(start.configuration.verbosity, start.configuration.quiet):
                sys.exit(run_worker(start))
        require_worker()
        workers = configurations(self.configuration(options), options)
        try:
            # Checked here: at each start of a worker, it would be too late to report this.
            worker_command()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None

        def check() -> None:
            require_tables()
            for queues in dict.fromkeys(configuration.filters.queues for configuration in workers):
                warn_of_unknown_queues(queues)

        asked = health(options)
        supervisor = Supervisor(workers, check, asked)
        with (
            self.shown_in_terminal(supervisor.process, options),
            asked.serving() if asked else nullcontext(),
        ):
            supervisor.run()
