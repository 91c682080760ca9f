"""Tasks of huey, in a Django app, where its worker looks for them."""

import time

from huey.contrib.djhuey import HUEY, task

from benchmarks import bodies


@task()
def nothing():
    """Record that the task was performed."""
    bodies.nothing()


@task()
def stamp(enqueued):
    """Record how long ago the task was enqueued."""
    bodies.stamp(enqueued)


def enqueue(count):
    """Enqueue tasks one by one."""
    for _ in range(count):
        nothing()


def enqueue_many(count):
    """Raise NotImplementedError: there is no call for many."""
    raise NotImplementedError("it has no call for many")


def enqueue_stamp():
    """Enqueue a task that says how long it has waited."""
    stamp(time.monotonic())


def unsettled():
    """How many tasks wait; a task that a worker has taken is not there any more."""
    return HUEY.pending_count()


def clear():
    """Empty its file."""
    HUEY.flush()
