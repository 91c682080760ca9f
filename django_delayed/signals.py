"""The signals of a job's life, and the log lines, which are written by receivers of them.

Signals are sent with `send_robust`: a receiver that raises changes nothing. The sender is the class of the
job. `delayed_job` is the `DelayedJob`, `job` the `Job`.
"""

from __future__ import annotations

import logging
from typing import Any

from django.dispatch import Signal

from .serialization.errors import printable

logger = logging.getLogger("django_delayed")

# With delayed_job and job.
job_enqueued = Signal()
# With delayed_job. The job is not loaded yet, so the sender is Job.
job_started = Signal()
# With delayed_job, job and duration (seconds).
job_finished = Signal()
# An attempt failed. With delayed_job, error, and job: None when it could not be loaded, or its worker died.
job_errored = Signal()
# The job is given up; sent after job_errored, with the same arguments.
job_failed = Signal()
# The job raised an error that its discard_on names; sent instead of job_errored, with the same arguments.
job_discarded = Signal()
# With worker, the id of the worker; the sender is None.
worker_started = Signal()
worker_stopped = Signal()


def _log_enqueued(delayed_job: Any, **_: Any) -> None:
    logger.debug("%s ENQUEUED in queue %s", delayed_job, printable(delayed_job.queue))


def _log_started(delayed_job: Any, **_: Any) -> None:
    logger.info("%s RUNNING", delayed_job)


def _log_finished(delayed_job: Any, duration: float, **_: Any) -> None:
    logger.info("%s COMPLETED after %.4f s", delayed_job, duration)


def _log_errored(delayed_job: Any, error: Any, **_: Any) -> None:
    prior = delayed_job.attempts - 1
    attempts = "1 prior attempt" if prior == 1 else f"{prior} prior attempts"
    logger.error("%s FAILED (%s) with %s", delayed_job, attempts, _headline(error))


def _log_failed(delayed_job: Any, error: Any, **_: Any) -> None:
    logger.error("%s FAILED permanently with %s", delayed_job, _headline(error))


def _log_discarded(delayed_job: Any, error: Any, **_: Any) -> None:
    logger.info("%s DISCARDED with %s", delayed_job, _headline(error))


def _headline(error: Any) -> str:
    return printable(f"{error.error_class}: {error.message}" if error.message else error.error_class)


def _log_worker_started(worker: str, **_: Any) -> None:
    logger.info("Worker %s started", worker)


def _log_worker_stopped(worker: str, **_: Any) -> None:
    logger.info("Worker %s stopped", worker)


job_enqueued.connect(_log_enqueued)
job_started.connect(_log_started)
job_finished.connect(_log_finished)
job_errored.connect(_log_errored)
job_failed.connect(_log_failed)
job_discarded.connect(_log_discarded)
worker_started.connect(_log_worker_started)
worker_stopped.connect(_log_worker_stopped)

_OURS = {signal: len(signal.receivers) for signal in (job_finished, job_errored, job_failed, job_discarded)}


def have_receivers() -> bool:
    """Whether a receiver beside those that write the log wants to know of outcomes."""
    return any(len(signal.receivers) > ours for signal, ours in _OURS.items())
