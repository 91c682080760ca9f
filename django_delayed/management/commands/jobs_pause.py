"""`manage.py jobs_pause`: no worker claims jobs of these queues until jobs_resume."""

from __future__ import annotations

from collections.abc import Sequence

from ...operations import pause
from ..moves import operator
from ..pauses import PauseCommand
from ..queues import warn_of_unknown_queues


class Command(PauseCommand):
    help = (
        "Pause queues: no worker claims their jobs until jobs_resume. Jobs are enqueued as ever, and those"
        " that run are performed to their end."
    )
    done, unchanged = "paused", "paused already"

    def change(self, queues: Sequence[str]) -> list[str]:
        changed = pause(queues, operator())
        warn_of_unknown_queues(queues)
        return changed
