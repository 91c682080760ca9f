"""The jobs that the benchmarks enqueue."""

import time

from django_delayed import Job


class Nothing(Job):
    """Costs nothing itself, so that what is measured is the queue."""

    def perform(self) -> None:
        """Do nothing."""


class Began(Job):
    """Writes down how long after this time of the monotonic clock it began."""

    def perform(self, path: str, enqueued: float) -> None:
        """Add a line to the file."""
        with open(path, "a") as file:
            file.write(f"{time.monotonic() - enqueued}\n")
