"""`manage.py jobs_run_now`: waiting jobs are due."""

from __future__ import annotations

from ...operations import RUN_NOW
from ...states import State
from ..moves import MoveCommand


class Command(MoveCommand):
    help = "Make scheduled and retrying jobs due at once. The attempts that they have made stay counted."
    operation = RUN_NOW
    states = (State.SCHEDULED, State.RETRYING)
    done = "made due"
