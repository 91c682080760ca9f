"""delayed_job for Django: work that a request should not wait for, kept in the application's own database."""

from .calls import DelayMixin, delay, handle_asynchronously
from .enqueueing import enqueue, enqueue_all
from .exceptions import (
    DelayedError,
    DeserializationError,
    DontPerform,
    JobTimeout,
    RecordNotFound,
    SerializationError,
)
from .jobs import Job, Retry, dequeue
from .serialization.arguments import register_type

__all__ = [
    "DelayMixin",
    "DelayedError",
    "DeserializationError",
    "DontPerform",
    "Job",
    "JobTimeout",
    "RecordNotFound",
    "Retry",
    "SerializationError",
    "delay",
    "dequeue",
    "enqueue",
    "enqueue_all",
    "handle_asynchronously",
    "register_type",
]
__version__ = "0.1.0"
