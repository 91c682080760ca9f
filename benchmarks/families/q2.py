"""Tasks of django-q2, with its ORM broker."""

import time

from django_q.models import OrmQ
from django_q.tasks import async_task

from benchmarks import bodies


def enqueue(count):
    """Enqueue tasks one by one."""
    for _ in range(count):
        async_task("benchmarks.bodies.nothing")


def enqueue_many(count):
    """Raise NotImplementedError: there is no call for many."""
    raise NotImplementedError("it has no call for many")


def enqueue_stamp():
    """Enqueue a task that says how long it has waited."""
    async_task(bodies.stamp, time.monotonic())


def unsettled():
    """How many tasks are not done."""
    return OrmQ.objects.count()
