"""What a row keeps of a job that is asked for its result later, as a task is: JSON in the column `result`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from django.dispatch import Signal

RESULT = 2  # a bit of DelayedJob.extras, beside that of a report

# A job with the bit has ended for good, and its row says so. With delayed_job, and exception: None when it
# went well.
result_settled = Signal()


@dataclass(frozen=True)
class Kept:
    """The value that a job has returned, and the worker that performed it: a finished row names none."""

    value: Any = None
    worker: str = ""

    def dump(self) -> str:
        """The column as ASCII JSON."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def load(cls, text: str) -> Kept:
        """What the column says; nothing, if it is empty or somebody has written something else there."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError):
            return cls()
