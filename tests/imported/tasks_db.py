"""A program that moves tasks of every kind of django-tasks-db, and works them off."""

from datetime import UTC, datetime

import django
from django.core.management import call_command

django.setup()
call_command("migrate", verbosity=0)

from django_tasks_db.models import DBTaskResult  # noqa: E402
from tests.imported.moving import move  # noqa: E402
from tests.imported.tasks import note  # noqa: E402


def enqueue(*args, using=None, **changes):
    """Enqueue a task as through their backend while it was the default one, and change its row."""
    result = note.using(backend="theirs", **(using or {})).enqueue(*args, a=[2])
    DBTaskResult.objects.filter(pk=result.id).update(**{"backend_name": "default", **changes})


enqueue(1, using={"priority": 7, "queue_name": "mail", "run_after": datetime(2030, 1, 2, tzinfo=UTC)})
enqueue("second", using={"priority": -3})
enqueue("other queue", queue_name="no queue of TASKS")
enqueue("runs", status="RUNNING")
enqueue("was performed", status="SUCCESSFUL")
enqueue("gone", task_path="tests.imported.tasks.gone")
enqueue("other backend", backend_name="theirs")
enqueue("no backend", backend_name="gone")
move("tasks_db", DBTaskResult)
