"""The framework of tasks as projects import it: Django's, or that of django-tasks on Django 5.2."""

import django

if django.VERSION >= (6, 0):
    from django.tasks import TaskResultStatus, task, task_backends
    from django.tasks.base import Task
    from django.tasks.exceptions import InvalidTask, TaskResultDoesNotExist, TaskResultMismatch
    from django.tasks.signals import task_enqueued, task_finished, task_started
else:
    from django_tasks import TaskResultStatus, task, task_backends
    from django_tasks.base import Task
    from django_tasks.exceptions import InvalidTaskError as InvalidTask
    from django_tasks.exceptions import TaskResultDoesNotExist, TaskResultMismatch
    from django_tasks.signals import task_enqueued, task_finished, task_started

LOGGER = "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"
# Whether the decorator accepts the options that our class of tasks adds.
TAKES_POLICY = django.VERSION[:2] != (6, 0)

__all__ = [
    "LOGGER",
    "TAKES_POLICY",
    "InvalidTask",
    "Task",
    "TaskResultDoesNotExist",
    "TaskResultMismatch",
    "TaskResultStatus",
    "task",
    "task_backends",
    "task_enqueued",
    "task_finished",
    "task_started",
]
