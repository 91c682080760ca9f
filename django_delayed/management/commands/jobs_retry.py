"""`manage.py jobs_retry`: failed jobs are ready again."""

from __future__ import annotations

from ...operations import RETRY
from ...states import State
from ..moves import MoveCommand


class Command(MoveCommand):
    """Retries failed jobs."""

    help = "Retry failed jobs: they are ready at once and have all their attempts again."
    operation = RETRY
    states = (State.FAILED,)
    done = "retried"
