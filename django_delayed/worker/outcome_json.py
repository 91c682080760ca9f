"""An outcome as bounded JSON: how the process of one job tells it to its worker."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from datetime import timedelta
from typing import Any, get_args

from ..conf import settings
from ..execution.outcomes import EndedByError, Finished, Outcome
from ..jobs import Job
from ..models import DelayedJob
from ..serialization.errors import TEXT_LIMIT, ErrorText

_KINDS = {kind.__name__: kind for kind in get_args(Outcome)}
# Python objects that stay in the process of the job, which announces the outcome.
_LEFT_OUT = ("job", "exception", "job_class")


def size_limit() -> int:
    """The most bytes that the JSON of an outcome has: those of a result and of an error, with escapes."""
    return 2 * settings.MAX_ARGUMENTS_SIZE + 8 * TEXT_LIMIT


def dump_outcome(row: DelayedJob, outcome: Outcome) -> bytes:
    """The JSON, with what the job has left in its row for the move."""
    values = {field.name: _plain(getattr(outcome, field.name)) for field in _fields_of(type(outcome))}
    left = {"result": row.result, "extras": row.extras}
    return json.dumps({"kind": type(outcome).__name__, **left, **values}).encode()


def load_outcome(row: DelayedJob, data: bytes) -> Outcome:
    """What `dump_outcome` wrote, for the move of this row; without the job and its exception."""
    values: dict[str, Any] = json.loads(data)
    kind: Any = _KINDS[values.pop("kind")]
    row.result, row.extras = values.pop("result"), values.pop("extras")
    if values.get("wait") is not None:
        values["wait"] = timedelta(seconds=values["wait"])
    if issubclass(kind, EndedByError):
        error = values["error"] = ErrorText(**values["error"])
        values["exception"] = RuntimeError(error.message)
    if any(field.name == "job" for field in fields(kind)):
        values["job"] = Job() if kind is Finished else None
    return kind(**values)


def _fields_of(kind: Any) -> list[Any]:
    return [field for field in fields(kind) if field.name not in _LEFT_OUT]


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return asdict(value) if isinstance(value, ErrorText) else value
