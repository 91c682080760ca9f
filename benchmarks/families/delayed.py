"""Jobs of django_delayed."""

import time
from datetime import timedelta

from django.utils import timezone
from django_delayed import Job
from django_delayed import enqueue_many as enqueue_any_number
from django_delayed.models import DelayedJob

from benchmarks import bodies, rows


class Nothing(Job):
    """Costs nothing itself, so that only the queue is measured."""

    def perform(self):
        """Record that the job was performed."""
        bodies.nothing()


class Stamp(Job):
    """Says how long it has waited."""

    def perform(self, enqueued):
        """Record how long ago the job was enqueued."""
        bodies.stamp(enqueued)


def enqueue(count):
    """Enqueue jobs one by one."""
    for _ in range(count):
        Nothing.perform_later()


def enqueue_many(count):
    """Enqueue jobs by the call for many."""
    enqueue_any_number(Nothing() for _ in range(count))


def enqueue_stamp():
    """Enqueue a job that says how long it has waited."""
    Stamp.perform_later(time.monotonic())


def unsettled():
    """How many jobs are not done."""
    return DelayedJob.objects.waiting().count() + DelayedJob.objects.running().count()


def backlog(kind, count):
    """Write rows beside the jobs that are measured."""
    now, day = timezone.now(), timedelta(days=1)
    columns = {
        # Behind the jobs that are there.
        "ready": {"run_at": now},
        # Before them, by their priority.
        "future": {"run_at": now + day, "priority": -10},
        "not served": {"run_at": now, "priority": -10, "queue": "not served"},
        "finished": {"finished_at": now, "keep_for": day, "expires_at": now + day},
    }[kind]
    rows.multiply(Nothing.perform_later(), count, **columns)
