"""Work off the queue in the process of the tests, or write a row that no enqueue would write."""

import json
from contextlib import ExitStack

from django.db import connection
from django_delayed import Job
from django_delayed.databases import DatabaseNow, insert
from django_delayed.execution import perform as execution
from django_delayed.execution.session import Session
from django_delayed.execution.settle import settle
from django_delayed.models import DelayedJob

WORKER = "0" * 32


def claim():
    """Claim the next ready row."""
    [row] = DelayedJob.objects.claim(WORKER, 1)
    return row


def load(row):
    """Load the job of the row."""
    with ExitStack() as stack:
        return Job.load(row, lambda context: stack.enter_context(context.active()))


def perform(row, **options):
    """Perform the job of the row in a session of its own. Returns the outcome."""
    return execution.perform(row, Session(keeps=False), **options)


def perform_next():
    """Claim, perform and settle one row. Returns the row as it was claimed, and the outcome."""
    row = claim()
    outcome = perform(row)
    assert settle([(row, outcome)]) == []
    return row, outcome


def work_off():
    """Perform everything that is ready."""
    while rows := DelayedJob.objects.claim(WORKER, 10):
        for row in rows:
            settle([(row, perform(row))])


def write(payload, name="a hand-written job", **columns):
    """Write a row with this payload: a text, or data that is written as JSON, with version 1 by default."""
    text = payload if isinstance(payload, str) else json.dumps({"v": 1, **payload})
    row = DelayedJob(name=name, payload=text, run_at=DatabaseNow(), created_at=DatabaseNow(), **columns)
    insert(connection, [row])
    return row
