"""The jobs that the benchmarks enqueue."""

from django_delayed import Job


class Nothing(Job):
    """Costs nothing itself, so that what is measured is the queue."""

    def perform(self) -> None:
        """Do nothing."""
