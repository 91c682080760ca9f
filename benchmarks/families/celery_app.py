"""Tasks of celery."""

import time

from celery import Celery

from benchmarks import bodies

app = Celery("bench")
app.config_from_object("django.conf:settings", namespace="CELERY")


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
        nothing.delay()


def enqueue_many(count):
    """Raise NotImplementedError: there is no call for many."""
    raise NotImplementedError("it has no call for many")


def enqueue_stamp():
    """Enqueue a task that says how long it has waited."""
    stamp.delay(time.monotonic())


def unsettled():
    """How many tasks wait; a task that a worker has taken is not there any more."""
    with app.connection_for_read() as connection:
        return connection.default_channel.client.llen(app.conf.task_default_queue)


def clear():
    """Empty the queue."""
    app.control.purge()


close = clear
