"""Work off the queue in the process of the tests, or put a row there that no enqueue would write."""

import json
from datetime import timedelta

from django.db import connection
from django_delayed import execution
from django_delayed.databases import database
from django_delayed.models import DelayedJob

WORKER = "0" * 32


def claim():
    """The next ready row, claimed."""
    [row] = DelayedJob.objects.claim(WORKER, 1)
    return row


def perform_next():
    """Claim, perform and settle one row; gives it, as it was claimed, and the outcome."""
    row = claim()
    outcome = execution.perform(row)
    assert execution.settle(row, outcome)
    return row, outcome


def work_off():
    """Perform everything that is ready."""
    while rows := DelayedJob.objects.claim(WORKER, 10):
        for row in rows:
            execution.settle(row, execution.perform(row))


def write(payload, name="a hand-written job", **columns):
    """A row with this payload: a text, or data to be written as JSON."""
    text = payload if isinstance(payload, str) else json.dumps(payload)
    row = DelayedJob(name=name, payload=text, run_at=timedelta(0), created_at=timedelta(0), **columns)
    database(connection, DelayedJob).insert([row])
    return row
