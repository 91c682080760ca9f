"""Tasks of procrastinate's Django app."""

import time

from django.db import connection
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob

from benchmarks import bodies

CHUNK = 1_000


@app.task
def nothing():
    """Record that the task was performed."""
    bodies.nothing()


@app.task
def stamp(enqueued):
    """Record how long ago the task was enqueued."""
    bodies.stamp(enqueued)


def enqueue(count):
    """Enqueue tasks one by one."""
    for _ in range(count):
        nothing.defer()


def enqueue_many(count):
    """Enqueue tasks by the call for many."""
    for first in range(0, count, CHUNK):
        nothing.batch_defer(*({} for _ in range(min(CHUNK, count - first))))


def enqueue_stamp():
    """Enqueue a task that says how long it has waited."""
    stamp.defer(enqueued=time.monotonic())


def unsettled():
    """How many tasks are not done."""
    return ProcrastinateJob.objects.filter(status__in=["todo", "doing"]).count()


def clear():
    """Empty its tables; Django does not manage their models."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE procrastinate_jobs CASCADE")
