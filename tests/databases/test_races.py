"""What one worker or operator does while another is in the middle of it."""

from datetime import timedelta

import pytest
from django.db import connection
from django_delayed.models import DelayedJob, FailedAttempt
from django_delayed.serialization.errors import describe

W1, W2 = "1" * 32, "2" * 32

pytestmark = [
    pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time"),
    pytest.mark.django_db(transaction=True),
]


def test_discard_leaves_a_row_that_is_claimed_while_it_works(add, in_thread):
    row = add(due=-1, attempts=1)
    FailedAttempt.objects.create(delayed_job=row, number=1, ended_at=row.created_at, error_class="E")
    held = []

    def claim_first(execute, sql, params, many, context):
        if sql.startswith("DELETE") and not held:
            held.extend(in_thread(DelayedJob.objects.claim, W1).result(timeout=30))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(claim_first):
        assert DelayedJob.objects.discard() == 0
    assert held == list(DelayedJob.objects.running())
    assert FailedAttempt.objects.count() == 1


def test_a_job_that_another_worker_took_over_meanwhile_is_not_removed(add, in_thread):
    add(due=-1)
    [row] = DelayedJob.objects.claim(W1)
    DelayedJob.objects.reschedule(row, describe(ValueError("it broke")), timedelta(seconds=-1))
    [lost] = DelayedJob.objects.claim(W1)
    taken = []

    def take_over():
        DelayedJob.objects.release([lost])
        return DelayedJob.objects.claim(W2)

    def take_over_first(execute, sql, params, many, context):
        if sql.startswith("DELETE") and not taken:
            taken.extend(in_thread(take_over).result(timeout=30))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(take_over_first):
        assert DelayedJob.objects.finish(lost) is False
    assert taken == list(DelayedJob.objects.running())
    assert FailedAttempt.objects.count() == 1
