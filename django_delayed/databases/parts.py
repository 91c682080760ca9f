"""Sequences in parts, as many values as one statement or one transaction takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

# Rows in one statement: SQLite takes 32,766 variables.
MOST_ROWS = 1000


def parts(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The values in their order, at most so many at a time."""
    for first in range(0, len(values), size):
        yield values[first : first + size]
