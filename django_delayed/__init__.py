"""delayed_job for Django: work that a request should not wait for, kept in the application's own database."""

from .calls import DelayMixin, delay, handle_asynchronously
from .enqueueing import aenqueue, aenqueue_all, enqueue, enqueue_all, enqueue_many
from .exceptions import (
    DelayedError,
    DeserializationError,
    DontPerform,
    DuplicateJob,
    JobTimeout,
    RecordNotFound,
    SerializationError,
)
from .features.recurring.schedules import cron, every
from .features.unique.definition import Unique
from .jobs import Job, Retry, dequeue
from .serialization.arguments import register_type

__all__ = [
    "DelayMixin",
    "DelayedError",
    "DeserializationError",
    "DontPerform",
    "DuplicateJob",
    "Job",
    "JobTimeout",
    "RecordNotFound",
    "Retry",
    "SerializationError",
    "Unique",
    "aenqueue",
    "aenqueue_all",
    "cron",
    "delay",
    "dequeue",
    "enqueue",
    "enqueue_all",
    "enqueue_many",
    "every",
    "handle_asynchronously",
    "register_type",
]
__version__ = "0.1.0"
