"""What the jobs of a test have done, in order. Each test begins with an empty diary."""

from typing import Any

entries: list[Any] = []


def write(*entry: Any) -> None:
    entries.append(entry[0] if len(entry) == 1 else entry)
