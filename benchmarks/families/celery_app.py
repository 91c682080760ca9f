"""Tasks of celery."""

import time

from celery import Celery

from benchmarks import bodies

app = Celery("bench")
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task
def nothing():
    """Say that it was performed."""
    bodies.nothing()


@app.task
def stamp(enqueued):
    """Say how long ago that was."""
    bodies.stamp(enqueued)


def enqueue(count):
    """Enqueue tasks one by one."""
    for _ in range(count):
        nothing.delay()


def enqueue_many(count):
    """Say that there is no call for many."""
    raise NotImplementedError("it has no call for many")


def enqueue_stamp():
    """Enqueue a task that says how long it has waited."""
    stamp.delay(time.monotonic())


def unsettled():
    """How many tasks wait; one that is taken is gone."""
    with app.connection_for_read() as connection:
        return connection.default_channel.client.llen(app.conf.task_default_queue)


def clear():
    """Empty the queue."""
    app.control.purge()


close = clear
