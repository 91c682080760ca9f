"""The rows of django-background-tasks and of its forks, which all have the app `background_task`."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.db.models import QuerySet
from django.utils import timezone

from ...calls import delay
from ...exceptions import DelayedError
from ...jobs import Job
from ...options import check_options
from ...serialization import names
from .importer import Stays

MODEL = "background_task.Task"
_RUNS = (
    "it runs, or its worker was killed. Run this again when process_tasks has ended, and MAX_RUN_TIME has"
    " passed."
)
_NO_MODULE = "no function can be found by a name without a module. Let process_tasks perform it."
_FAILED = "it has failed."
_DECORATED = (
    "it is decorated with @background. Take the decorator away, so that the name leads to a function."
)


class BackgroundTasks:
    """The tasks of functions decorated with @background."""

    def __init__(self) -> None:
        self.model: Any = apps.get_model(MODEL)
        # The rule of django-background-tasks: larger numbers go first unless this setting says otherwise.
        self.sign = 1 if getattr(django_settings, "BACKGROUND_TASK_PRIORITY_ORDERING", "") == "ASC" else -1

    def unfinished(self) -> QuerySet[Any]:
        """All rows: django-background-tasks moves finished and failed ones to another table."""
        rows: QuerySet[Any] = self.model.objects.order_by("run_at", "pk")
        return rows

    def name_of(self, row: Any) -> str:
        """The name of the function, with its module."""
        return str(row.task_name)

    def job_of(self, row: Any) -> Job:
        """A call of the function, or the Job class that has its name by ALIASES."""
        if row.failed_at:
            raise Stays(_FAILED)
        # The rule of django-background-tasks: a lock that is older than MAX_RUN_TIME does not count.
        if row.locked_by and not self.model.objects.unlocked(timezone.now()).filter(pk=row.pk).exists():
            raise Stays(_RUNS)
        if row.repeat:
            raise Stays(
                f"it repeats. Write schedule = every({_seconds(row.repeat)}) in a Job class, or an entry in"
                " RECURRING; then delete it."
            )
        args, kwargs = row.params()
        job = _call(_find(row.task_name), args, kwargs)
        options = {"queue": row.queue or None, "priority": self.sign * row.priority or None}
        job.layers = (check_options({**options, "run_at": row.run_at}),)
        return job


def _call(found: Any, args: Any, kwargs: Any) -> Job:
    if isinstance(found, type) and issubclass(found, Job):
        return found(*args, **kwargs)
    return delay(found).job(*args, **kwargs)


def _find(task_name: str) -> Any:
    module, _, name = task_name.rpartition(".")
    if not module:
        raise Stays(_NO_MODULE)
    try:
        return names.resolve(f"{module}:{name}")
    except DelayedError as error:
        # `resolve` has imported the module, if there is one.
        found = getattr(sys.modules.get(module), name, None)
        if type(found).__module__.startswith("background_task."):
            raise Stays(_DECORATED) from error
        raise


def _seconds(repeat: int) -> str:
    days, seconds = divmod(repeat, timedelta(days=1).total_seconds())
    return f"timedelta(days={days:.0f})" if not seconds else f"timedelta(seconds={repeat})"
