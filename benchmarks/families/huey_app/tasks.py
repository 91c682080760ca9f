"""Tasks of huey, in an app of Django, as its worker looks for them."""

import time

from huey.contrib.djhuey import HUEY, task

from benchmarks import bodies


@task()
def nothing():
    """Say that it was performed."""
    bodies.nothing()


@task()
def stamp(enqueued):
    """Say how long ago that was."""
    bodies.stamp(enqueued)


def enqueue(count):
    """Enqueue tasks one by one."""
    for _ in range(count):
        nothing()


def enqueue_many(count):
    """Say that there is no call for many."""
    raise NotImplementedError("it has no call for many")


def enqueue_stamp():
    """Enqueue a task that says how long it has waited."""
    stamp(time.monotonic())


def unsettled():
    """How many tasks wait; one that is taken is gone."""
    return HUEY.pending_count()


def clear():
    """Empty its file."""
    HUEY.flush()
