"""The rows of django-tasks-db, another backend of Django's tasks."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.db.models import QuerySet
from django.utils.module_loading import import_string

from ...jobs import Job
from ...serialization import names
from ...tasks import DelayedBackend
from ...tasks.compat import TaskResultStatus
from ...tasks.job import TaskJob
from ...tasks.task import changed
from .importer import Stays

MODEL = "django_tasks_database.DBTaskResult"  # the app's label differs from its name
_NO_TIME = 9999  # the year of `run_after` in the row of a task without one
_RUNS = (
    "it runs, or its worker was killed. If no db_worker runs any more, set its status to READY, and run this"
    " again."
)


class DatabaseTasks:
    """Tasks that were enqueued through `django_tasks_db.DatabaseBackend`."""

    def __init__(self) -> None:
        self.model: Any = apps.get_model(MODEL)

    def unfinished(self) -> QuerySet[Any]:
        """The rows of tasks that wait or run. The others are results."""
        statuses = [TaskResultStatus.READY, TaskResultStatus.RUNNING]
        rows: QuerySet[Any] = self.model.objects.filter(status__in=statuses)
        return rows

    def name_of(self, row: Any) -> str:
        """The name of the task, with its module."""
        return str(row.task_path)

    def job_of(self, row: Any) -> Job:
        """The task as `using` had changed it, with its arguments."""
        if row.status != TaskResultStatus.READY:
            raise Stays(_RUNS)
        module, _, name = row.task_path.rpartition(".")
        task = changed(
            names.resolve_marked(f"{module}:{name}"),
            priority=row.priority,
            queue_name=row.queue_name,
            run_after=None if row.run_after.year == _NO_TIME else row.run_after,
            backend=row.backend_name,
        )
        if not _is_ours(row.backend_name):
            raise Stays(f"TASKS[{row.backend_name!r}] does not name DelayedBackend. Change that first.")
        task.get_backend().validate_task(task)
        return TaskJob(task, *row.args_kwargs["args"], **row.args_kwargs["kwargs"])


def _is_ours(alias: str) -> bool:
    entry: Any = getattr(django_settings, "TASKS", {}).get(alias)
    return bool(entry) and issubclass(import_string(entry["BACKEND"]), DelayedBackend)
