"""Write jobs down: from a Job to its row, one or many with one INSERT, and in which transaction."""

from .async_forms import aenqueue, aenqueue_all
from .jobs import enqueue, enqueue_all, enqueue_at_once, enqueue_in_transaction, enqueue_many
from .rows import all_rows

__all__ = [
    "aenqueue",
    "aenqueue_all",
    "all_rows",
    "enqueue",
    "enqueue_all",
    "enqueue_at_once",
    "enqueue_in_transaction",
    "enqueue_many",
]
