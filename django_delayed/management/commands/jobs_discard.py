"""`manage.py jobs_discard`: jobs are deleted."""

from __future__ import annotations

from ...operations import DISCARD
from ...states import State
from ..moves import MoveCommand


class Command(MoveCommand):
    help = "Delete jobs that are not running, with the records of their attempts."
    operation = DISCARD
    states = (State.SCHEDULED, State.ENQUEUED, State.RETRYING, State.FAILED, State.FINISHED)
    done = "discarded"
