"""`manage.py jobs_work`: perform jobs until told to stop."""

from __future__ import annotations

import os
import sys
from typing import Any

from ...worker.child import ORDERS, run_child
from ...worker.supervisor import Supervisor
from ..worker_command import WorkerCommand, require_tables


class Command(WorkerCommand):
    """A parent and its worker; the same command, with orders in its environment, is the worker."""

    help = "Perform delayed jobs until SIGTERM or SIGINT; then finish the current one and exit."

    def handle(self, *args: Any, **options: Any) -> None:
        """Run as the parent, or as the child that it started."""
        self.log_to_terminal(options)
        if orders := os.environ.pop(ORDERS, None):
            sys.exit(run_child(orders))
        require_tables()
        Supervisor(self.configuration(options)).run()
