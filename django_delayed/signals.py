"""What observers may hear, and the log lines: the first observer of all.

Receivers look on; one that raises changes nothing (`send_robust`). The sender is the class of the job.
"""

from __future__ import annotations

import logging
from typing import Any

from django.dispatch import Signal

logger = logging.getLogger("django_delayed")

job_enqueued = Signal()  # delayed_job, job
job_started = Signal()  # delayed_job; before it is loaded, so the sender is Job
job_finished = Signal()  # delayed_job, job, duration (seconds)
job_errored = Signal()  # delayed_job, job (None when it could not be loaded), error: an attempt failed
job_failed = Signal()  # delayed_job, job (None when it could not be loaded), error: given up
worker_started = Signal()  # worker (its id); the sender is None
worker_stopped = Signal()  # worker (its id); the sender is None


def _log_enqueued(delayed_job: Any, **_: Any) -> None:
    logger.debug("%s ENQUEUED in queue %s", delayed_job, delayed_job.queue)


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


def _headline(error: Any) -> str:
    text = f"{error.error_class}: {error.message}" if error.message else error.error_class
    # A message may come from outside: nothing in it shall end the line or reach the terminal as a command.
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def _log_worker_started(worker: str, **_: Any) -> None:
    logger.info("Worker %s started", worker)


def _log_worker_stopped(worker: str, **_: Any) -> None:
    logger.info("Worker %s stopped", worker)


job_enqueued.connect(_log_enqueued)
job_started.connect(_log_started)
job_finished.connect(_log_finished)
job_errored.connect(_log_errored)
job_failed.connect(_log_failed)
worker_started.connect(_log_worker_started)
worker_stopped.connect(_log_worker_stopped)
