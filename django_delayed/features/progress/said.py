"""What a job says about its progress, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise

from ...serialization.errors import printable

NOTE_LIMIT = 255  # characters
# Every whole number up to this is exact as a float.
LARGEST = 10**15


@dataclass(frozen=True)
class Said:
    """How much is done, of how much, and a note for people. `total` is None if it is not known."""

    done: float
    total: float | None
    note: str


def check_said(done: Any, total: Any, note: Any) -> Said:
    """The checked arguments of a Job's `progress`. Raises TypeError or ValueError; cuts a longer note."""
    if not isinstance(note, str | Promise):
        raise TypeError(f"The note of progress() must be a text, not {note!r}.")
    # One line; of a very long text, only the beginning is looked at.
    text = printable(" ".join(str(note)[: 4 * NOTE_LIMIT].split()))
    if len(text) > NOTE_LIMIT:
        text = f"{text[: NOTE_LIMIT - 1]}…"
    return Said(_number(done, "done"), None if total is None else _number(total, "total"), text)


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} of progress() must be a number, not {value!r}.")
    # This also refuses NaN, which is in no range.
    if not 0 <= value <= LARGEST:
        raise ValueError(f"{name} of progress() must be a number from 0 to {LARGEST:,}.")
    return float(value)
