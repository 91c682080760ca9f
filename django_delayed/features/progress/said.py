"""What a job says about its progress, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise

from ...serialization.errors import printable

NOTE_LIMIT = 255  # characters
# As a float, every whole number up to it is exact.
LARGEST = 10**15


@dataclass(frozen=True)
class Said:
    """How much is done, of how much, and a note for people. None: how much there is to do is not known."""

    done: float
    total: float | None
    note: str


def check_said(done: Any, total: Any, note: Any) -> Said:
    """What `progress` of a Job was given. Raises TypeError or ValueError; a longer note is cut."""
    if not isinstance(note, str | Promise):
        raise TypeError(f"The note of progress() must be a text, not {note!r}.")
    # One line, and no more of it than is looked at.
    text = printable(" ".join(str(note)[: 4 * NOTE_LIMIT].split()))
    if len(text) > NOTE_LIMIT:
        text = f"{text[: NOTE_LIMIT - 1]}…"
    return Said(_number(done, "done"), None if total is None else _number(total, "total"), text)


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} of progress() must be a number, not {value!r}.")
    # NaN is in no range.
    if not 0 <= value <= LARGEST:
        raise ValueError(f"{name} of progress() must be a number from 0 to {LARGEST:,}.")
    return float(value)
