"""The jobs that the benchmarks enqueue."""

import time

from django.contrib.auth.models import Group
from django_delayed import Job


class Nothing(Job):
    """Costs nothing itself, so that only the queue is measured."""

    def perform(self) -> None:
        """Do nothing."""


class Began(Job):
    """Writes down how long after this time of the monotonic clock it began."""

    def perform(self, path: str, enqueued: float) -> None:
        """Add a line to the file."""
        with open(path, "a") as file:
            file.write(f"{time.monotonic() - enqueued}\n")


class Everyday(Job):
    """Asks the database something and writes to it; each hundredth job fails for good."""

    max_attempts = 1

    def perform(self, number: int) -> None:
        """Write, and raise an error for some numbers."""
        group, _ = Group.objects.get_or_create(name=str(number % 100))
        group.save()
        if number % 100 == 99:
            raise ValueError(f"{number} is one of those that fail")


class Numbered(Job):
    """Does nothing, with an argument."""

    def perform(self, number: int) -> None:
        """Do nothing."""
