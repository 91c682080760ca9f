"""Tasks of Django's framework, for every backend of it."""

import time

from django.apps import apps
from django.db.models import Q
from django.tasks import task, task_backends

from benchmarks import bodies

# The model of each backend, by the label of its app, and which of its rows are not done.
UNSETTLED = {
    "django_delayed": ("DelayedJob", Q(finished_at=None, failed_at=None)),
    "django_tasks_database": ("DBTaskResult", Q(status__in=["READY", "RUNNING"])),
    "django_ox": ("OxTask", Q(status__in=["READY", "RUNNING"])),
    "dj_queue": ("Job", Q(finished_at=None)),
}


@task
def nothing():
    """Record that the task was performed."""
    bodies.nothing()


@task
def stamp(enqueued):
    """Record how long ago the task was enqueued."""
    bodies.stamp(enqueued)


def enqueue(count):
    """Enqueue tasks one by one."""
    for _ in range(count):
        nothing.enqueue()


def enqueue_stamp():
    """Enqueue a task that says how long it has waited."""
    stamp.enqueue(time.monotonic())


def unsettled():
    """How many tasks are not done."""
    [app] = UNSETTLED.keys() & apps.app_configs.keys()
    name, condition = UNSETTLED[app]
    return apps.get_model(app, name).objects.filter(condition).count()


def enqueue_many(count):
    """Enqueue tasks by the call that the backend has for many; the framework has none."""
    backend = task_backends["default"]
    if hasattr(backend, "enqueue_all"):
        backend.enqueue_all([(nothing, (), {})] * count)
    elif hasattr(backend, "enqueue_many"):
        backend.enqueue_many(nothing, [((), {})] * count)
    else:
        raise NotImplementedError("it has no call for many")
