"""From a Job to its row, which is not saved yet: its hooks, its options, its payload."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db.models.base import ModelState

from ..conf import settings
from ..databases import DatabaseNow
from ..databases.instances import bare_instance, is_init_heard
from ..features.unique.keys import UNIQUE, with_key
from ..options import Options, choose_options
from ..reports import mark
from ..serialization.context import Context

if TYPE_CHECKING:
    from ..jobs import Job
    from ..models import DelayedJob
    from ..states import DelayedJobQuerySet

NOW: Any = DatabaseNow()


def build_row(job: Job, options: Options, context: Callable[[], Context]) -> DelayedJob | None:
    """The unsaved row of a job; None when one of its hooks does not want it.

    `context` returns the active context.
    """
    if isinstance(job, type) or not hasattr(job, "before_enqueue"):
        raise TypeError(f"enqueue() takes an instance of a Job, as in enqueue(MyJob(…)), not {job!r:.200}.")
    if not job.begin_enqueue():
        return None
    try:
        return _row_of(job, options, context)
    except BaseException as error:
        job.enqueue_failed(error)
        raise


def _row_of(job: Job, options: Options, context: Callable[[], Context]) -> DelayedJob:
    chosen = choose_options((job.class_options(), *job.layers, options), job.target)
    queue = chosen.get("queue", settings.DEFAULT_QUEUE)
    of_queue = settings.QUEUE_ATTRIBUTES.get(queue, {})
    attempts = chosen.get("max_attempts") or job.max_attempts or of_queue.get("max_attempts")
    values = {
        "queue": queue,
        "priority": chosen.get("priority", of_queue.get("priority", settings.DEFAULT_PRIORITY)),
        "run_at": DatabaseNow(plus=chosen["wait"]) if "wait" in chosen else chosen.get("run_at", NOW),
        "max_attempts": attempts or settings.MAX_ATTEMPTS,
        "created_at": NOW,
        "extras": mark(),
    }
    values.update(job.row_values(chosen.get("max_run_time"), context))
    if unique := chosen.get("unique"):
        values["payload"], key = with_key(job, unique, values["payload"])
        row = _new_row(values | {"extras": values["extras"] | UNIQUE})
        row.wanted_key = key
        return row
    return _new_row(values)


def _new_row(values: dict[str, Any]) -> DelayedJob:
    """The row that the model makes of these values, which include `run_at` and `created_at`."""
    model = _model()
    if is_init_heard(model):
        made: DelayedJob = model(**values)
        return made
    row: DelayedJob = bare_instance(model, {**_defaults(), **values, "_state": ModelState()})
    return row


@cache
def _defaults() -> dict[str, Any]:
    return vars(_model()())


def all_rows() -> DelayedJobQuerySet:
    """All delayed jobs, in the database of the queue: as in `models`, which the front may not import."""
    rows: DelayedJobQuerySet = _model().objects.using(settings.DATABASE)
    return rows


@cache
def _model() -> Any:
    try:
        return apps.get_model("django_delayed", "DelayedJob")
    except LookupError:
        raise ImproperlyConfigured('Add "django_delayed" to INSTALLED_APPS, and run migrate.') from None
