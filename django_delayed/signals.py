"""The signals of a job's life, and the receivers of them that write the log.

Signals are sent with `send_robust`: a receiver that raises changes nothing. The sender is the class of the
job, also when the job could not be loaded; it is Job when the class is gone, and when the worker died.
`delayed_job` is the `DelayedJob`, which has the `name` of the job; `job` is the `Job`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.dispatch import Signal

from .serialization.errors import printable, text_of_traceback

logger = logging.getLogger("django_delayed")

# When a worker performs more jobs than these in a second, the others have no lines unless they fail.
LINES_A_SECOND = 100

# With delayed_job and job.
job_enqueued = Signal()
# With delayed_job. The job is not loaded yet, so the sender is Job.
job_started = Signal()
# With delayed_job, job and duration (seconds).
job_finished = Signal()
# The job comes again later, as it asked. With delayed_job, duration (seconds), wait (a timedelta), and job:
# None when the worker does not know its code, and the job waits for another.
job_snoozed = Signal()
# An attempt failed. With delayed_job; job: None when it could not be loaded, or its worker died; exception;
# error, the same as text; duration: None when the worker died; given_up: whether there is no next attempt.
job_errored = Signal()
# The job is given up; sent after job_errored, with the same arguments.
job_failed = Signal()
# The job raised an error that its discard_on names. Sent instead of job_errored, with its arguments except
# given_up.
job_discarded = Signal()
# An operator has ended the job while it ran; it is given up. Sent as job_discarded is.
job_cancelled = Signal()
# With worker, the id of the worker, and process: in words, its host, pid, queues and database. The sender is
# None.
worker_started = Signal()
# With worker. The sender is None.
worker_stopped = Signal()
# A worker has performed jobs, and none that it serves is due any more; sent once until it performs the next
# job. With worker. The sender is None.
queue_empty = Signal()


class _Lines:
    """The level of the lines of jobs that go well: it is DEBUG in a second of many jobs."""

    def __init__(self) -> None:
        self.level = logging.INFO
        self.are_summed_up = False
        self._second = 0.0  # when it is over, on the monotonic clock
        self._jobs = 0

    def next_level(self) -> int:
        """The level of the lines of the job that begins now."""
        if self.are_summed_up:
            if (now := time.monotonic()) >= self._second:
                # After a second of many jobs, another one is expected.
                was_busy = self.sum_up() and now < self._second + 1
                self.level = logging.DEBUG if was_busy else logging.INFO
                self._second = now + 1
            self._jobs += 1
            if self._jobs > LINES_A_SECOND:
                self.level = logging.DEBUG
        return self.level

    def sum_up(self, **_: Any) -> bool:
        """Log how many jobs were performed in the second, if they were many; returns whether they were."""
        jobs, self._jobs = self._jobs, 0
        if is_busy := jobs > LINES_A_SECOND:
            logger.info("%s jobs performed in a second; those that go well have their lines at DEBUG", jobs)
        self.level = logging.INFO
        return is_busy


_lines = _Lines()


@contextmanager
def busy_seconds_summed_up() -> Iterator[None]:
    """A block in which a second of more than LINES_A_SECOND jobs has one line in the log at INFO."""
    _lines.are_summed_up, _lines._second = True, 0.0
    try:
        yield
    finally:
        _lines.are_summed_up = False
        _lines.sum_up()


def tell_started(delayed_job: Any, sender: Any) -> None:
    """Send job_started. If only the log receives it, the log is told without the signal, which is faster."""
    if job_started.receivers == _LOG_OF_STARTED:
        _log_started(delayed_job)
    else:
        job_started.send_robust(sender=sender, delayed_job=delayed_job)


def tell_finished(delayed_job: Any, job: Any, duration: float) -> None:
    """As `tell_started`, for job_finished."""
    if job_finished.receivers == _LOG_OF_FINISHED:
        _log_finished(delayed_job, duration)
    else:
        job_finished.send_robust(sender=type(job), delayed_job=delayed_job, job=job, duration=duration)


def fields_of(delayed_job: Any) -> dict[str, Any]:
    """What the records of the log say about a job, as their attributes: for JSON and for error trackers."""
    return {
        "job_id": delayed_job.pk,
        "job_name": printable(delayed_job.name),
        "queue": printable(delayed_job.queue),
        "attempt": delayed_job.attempts,
        "worker": delayed_job.locked_by,
    }


def _log_enqueued(delayed_job: Any, **_: Any) -> None:
    if logger.isEnabledFor(logging.DEBUG):
        queue = printable(delayed_job.queue)
        logger.debug("%s ENQUEUED in queue %s", delayed_job, queue, extra=fields_of(delayed_job))


def _log_started(delayed_job: Any, **_: Any) -> None:
    if logger.isEnabledFor(level := _lines.next_level()):
        logger.log(level, "%s RUNNING", delayed_job, extra=fields_of(delayed_job))


def _log_finished(delayed_job: Any, duration: float, **_: Any) -> None:
    if logger.isEnabledFor(level := _lines.level):
        fields = {**fields_of(delayed_job), "duration": duration}
        logger.log(level, "%s COMPLETED after %.4f s", delayed_job, duration, extra=fields)


def _log_snoozed(delayed_job: Any, duration: float, wait: timedelta, **_: Any) -> None:
    if logger.isEnabledFor(logging.INFO):
        fields = {**fields_of(delayed_job), "duration": duration}
        logger.info("%s SNOOZED for %g s", delayed_job, wait.total_seconds(), extra=fields)


# One record a failure, and not a second one when the job is given up: trackers make an event of each.
def _log_errored(delayed_job: Any, exception: BaseException, given_up: bool, **what: Any) -> None:
    prior = delayed_job.attempts - 1
    attempts = "1 prior attempt" if prior == 1 else f"{prior} prior attempts"
    how = "FAILED permanently" if given_up else f"FAILED ({attempts})"
    fields = {**_fields_of_error(delayed_job, **what), "given_up": given_up}
    # Not the exception alone: logging ignores one that is falsy.
    exc_info = (type(exception), exception, exception.__traceback__)
    logger.error(*_line_of_error(delayed_job, how, **what), exc_info=exc_info, extra=fields)


def _log_discarded(delayed_job: Any, **what: Any) -> None:
    _log_given_up(delayed_job, "DISCARDED", **what)


def _log_cancelled(delayed_job: Any, **what: Any) -> None:
    _log_given_up(delayed_job, "CANCELLED", **what)


def _log_given_up(delayed_job: Any, how: str, **what: Any) -> None:
    if logger.isEnabledFor(logging.INFO):
        fields = _fields_of_error(delayed_job, **what)
        logger.info(*_line_of_error(delayed_job, how, **what), extra=fields)


def _line_of_error(delayed_job: Any, how: str, *, error: Any, **_: Any) -> tuple[Any, ...]:
    """The template of a record, and its arguments.

    The template has the job and the class of its error, but nothing that differs each time: trackers that
    group records by their template have one group for each job and class of error.
    """
    name, kind = (printable(text).replace("%", "%%") for text in (delayed_job.name, error.error_class))
    message = printable(f": {error.message}") if error.message else ""
    return f"{name} #%s %s with {kind}%s", delayed_job.pk, how, message


def _fields_of_error(delayed_job: Any, *, error: Any, duration: float | None, **_: Any) -> dict[str, Any]:
    return {
        **fields_of(delayed_job),
        "duration": duration,
        "error_class": printable(error.error_class),
        "fingerprint": error.fingerprint,
    }


def _bound_traceback(record: logging.LogRecord) -> bool:
    """Give a record with an exception our text of its traceback, which formatters use instead of their own.

    The text of Python's formatters has no limits: it may have 50 MB, or lines that look like records.
    """
    if record.exc_info and record.exc_info[1] is not None:
        record.exc_text = text_of_traceback(record.exc_info[1])
    return True


def _log_worker_started(worker: str, process: str, **_: Any) -> None:
    logger.info("Worker %s started: %s", worker, printable(process), extra={"worker": worker})


def _log_worker_stopped(worker: str, **_: Any) -> None:
    logger.info("Worker %s stopped", worker, extra={"worker": worker})


logger.addFilter(_bound_traceback)
job_enqueued.connect(_log_enqueued)
job_started.connect(_log_started)
job_finished.connect(_log_finished)
job_snoozed.connect(_log_snoozed)
job_errored.connect(_log_errored)
job_discarded.connect(_log_discarded)
job_cancelled.connect(_log_cancelled)
worker_started.connect(_log_worker_started)
worker_stopped.connect(_log_worker_stopped)

queue_empty.connect(_lines.sum_up)
_LOG_OF_STARTED, _LOG_OF_FINISHED = [*job_started.receivers], [*job_finished.receivers]
_OUTCOMES = (job_finished, job_snoozed, job_errored, job_failed, job_discarded, job_cancelled)
_OURS = {signal: len(signal.receivers) for signal in _OUTCOMES}


def is_heard(signal: Signal, level: int) -> bool:
    """Whether the signal has a receiver beside the one that writes the log, or the log takes that level."""
    return len(signal.receivers) > 1 or logger.isEnabledFor(level)


def have_receivers() -> bool:
    """Whether a signal of an outcome has a receiver beside those that write the log."""
    return any(len(signal.receivers) > ours for signal, ours in _OURS.items())
