"""The errors of jobs."""

from datetime import timedelta

from django.core.exceptions import SynchronousOnlyOperation


class DelayedError(Exception):
    """Base of every error that django_delayed raises about a job."""


class SerializationError(DelayedError, ValueError):
    """Part of a job cannot be written down. Raised where the job is enqueued, before any SQL."""


class DeserializationError(DelayedError):
    """A row cannot be turned into its job: its code or a record is gone. The job fails at once."""


class UnknownCode(DeserializationError):
    """A row names code, or has a form, that this process does not know, but a worker of another version may.

    Within UNKNOWN_GRACE of its enqueue the job waits for such a worker; after that it fails.
    """


class RecordNotFound(DeserializationError):
    """A model instance that the job is about no longer exists."""


class MailRefused(DelayedError):
    """A mail server has refused a mail for good, for each of its recipients. The job fails at once."""


class UnknownType(DelayedError):
    """A row has a value of a type that this process has not registered, but another one may have.

    Within UNKNOWN_GRACE of its enqueue the job waits for such a worker; after that it is tried again.
    """


class DuplicateJob(DelayedError):
    """A job is not enqueued, as an equal one holds its key. Raised only in the hooks around its enqueue.

    `delayed_job_id` is the id of the row that holds the key, None for another job of the same enqueue.
    """

    def __init__(self, name: str, delayed_job_id: int | None) -> None:
        other = f" #{delayed_job_id}" if delayed_job_id else ", enqueued with it,"
        super().__init__(f"{name} is not enqueued: an equal job{other} holds its key.")
        self.delayed_job_id = delayed_job_id


class DontPerform(DelayedError):
    """Raised by a `before_perform`, as in Resque: the job counts as finished, and is not performed."""


class JobExpired(DelayedError):
    """The job was not begun within its `expires`, so it is discarded."""


class WorkerCrashed(DelayedError):
    """Recorded for a job when the process of its worker died while it performed the job."""


class JobCancelled(DelayedError):
    """Recorded for a job that an operator has ended while it ran."""


class EventLoopRunning(DelayedError, SynchronousOnlyOperation):
    """A function that is not async was called in async code to enqueue or perform a job. It did nothing."""


class JobTimeout(BaseException):
    """Raised inside a job that runs longer than its max_run_time.

    Not an `Exception`, so that a job's own `except Exception` does not swallow it by accident.
    """


class JobSnoozed(BaseException):
    """Raised by `Job.snooze`: ends the attempt, whatever the job does with an `Exception`."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__(f"The job comes again after {wait}.")
        self.wait = wait


class JobRetried(BaseException):
    """Raised by `Job.retry_job`: ends the attempt as a failed one. `wait` is None for the usual wait."""

    def __init__(self, wait: timedelta | None) -> None:
        super().__init__("The job asked to be tried again.")
        self.wait = wait


class JobInterrupted(BaseException):
    """Raised inside a job when its worker is told to stop at once; the attempt is not counted."""
