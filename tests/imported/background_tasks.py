"""A program that moves tasks of every kind of django-background-tasks, and works them off."""

from datetime import UTC, datetime, timedelta

import django
from django.core.management import call_command

django.setup()
call_command("migrate", verbosity=0)

from background_task import background  # noqa: E402
from background_task.models import Task  # noqa: E402
from django.utils import timezone  # noqa: E402
from tests.imported import decorated, work  # noqa: E402
from tests.imported.moving import move  # noqa: E402


def locked(task, since):
    Task.objects.filter(pk=task.pk).update(locked_by="17", locked_at=timezone.now() - since)


# As if the decorator were still in the module that has the plain function now.
note = background(name="tests.imported.work.note")(work.note)
remind = background(name="tests.imported.tasks.remind")(work.note)
note(1, a=[2], schedule={"run_at": datetime(2030, 1, 2, tzinfo=UTC), "priority": 3}, queue="mail")
note("second", schedule={"priority": -1})
remind("Ada")
locked(note("left by a dead worker"), timedelta(hours=2))
note("repeats", repeat=Task.DAILY)
background(name="tests.imported.work.gone")(work.note)("gone")
background(name="no_module")(work.note)("no module")
decorated.greet("decorated")
locked(note("runs"), timedelta(0))
remind("Ada", "one too many")
remind("nobody")
move("background_tasks", Task)
