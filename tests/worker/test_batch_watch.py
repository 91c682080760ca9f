"""What is released and settled while a worker performs a long job of a batch."""

import math
import mmap
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import connection
from django_delayed import enqueue_all
from django_delayed.models import DelayedJob
from django_delayed.worker.batch_watch import RELEASE_AFTER, BatchWatch
from django_delayed.worker.slot import SLOT_SIZE, Current, Slot
from tests.blog.jobs import Plain
from tests.connections import wrapped

W1 = "1" * 32
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)

pytestmark = pytest.mark.django_db(transaction=True)


def claim(count, worker=W1):
    enqueue_all([Plain(number) for number in range(count)])
    return DelayedJob.objects.claim(worker, count)


def states():
    return [row.state for row in DelayedJob.objects.order_by("pk")]


def watched():
    """A function that sets the current job of a slot, and the watch over that slot."""
    slot = Slot(mmap.mmap(-1, SLOT_SIZE), 0)
    seen = SimpleNamespace(current=None)
    slot.current = lambda: seen.current

    def begin(row, age):
        seen.current = row and Current(row.pk, age, HOUR, row.lock_token)
        if row:
            slot.claim(row.lock_token)

    return begin, BatchWatch(W1, slot)


def test_a_long_job_releases_what_was_claimed_with_it():
    begin, watch = watched()
    rows = claim(3)
    watch.release()
    begin(rows[1], RELEASE_AFTER - timedelta(microseconds=1))
    watch.release()
    assert states() == ["running"] * 3
    begin(rows[1], RELEASE_AFTER)
    watch.release()
    assert states() == ["enqueued", "running", "enqueued"]
    assert DelayedJob.objects.get(pk=rows[1].pk).started_at is not None


def test_a_job_that_was_noted_costs_no_further_statement(django_assert_num_queries):
    begin, watch = watched()
    rows = claim(2)
    with django_assert_num_queries(0):
        begin(rows[0], timedelta(0))
        watch.release()
    begin(rows[0], SECOND)
    watch.release()
    with django_assert_num_queries(0):
        for seconds in range(2, 5):
            begin(rows[0], seconds * SECOND)
            watch.release()


def test_a_job_is_noted_again_in_its_next_attempt():
    begin, watch = watched()
    [row] = claim(1)
    for _ in range(2):
        DelayedJob.objects.update(started_at=None)
        begin(row, SECOND)
        watch.release()
        assert DelayedJob.objects.get().started_at is not None
        begin(None, SECOND)
        watch.release()


def test_jobs_performed_before_a_long_job_are_settled():
    begin, watch = watched()
    rows = claim(4)
    for row in rows[:2]:
        watch.slot.claim(row.lock_token)
        watch.slot.ledger.add(row.pk)
    begin(rows[2], RELEASE_AFTER)
    assert not watch.slot.ledger.was_settled_by_another(rows[0].lock_token)
    watch.release()
    assert [(row.pk, row.state) for row in DelayedJob.objects.order_by("pk")] == [
        (rows[2].pk, "running"),
        (rows[3].pk, "enqueued"),
    ]
    assert watch.slot.ledger.was_settled_by_another(rows[0].lock_token)


def test_nothing_is_written_about_a_job_of_a_claim_that_is_over():
    begin, watch = watched()
    rows = claim(2)
    begin(rows[0], SECOND)
    watch.slot.claim(rows[0].lock_token + 1)
    with wrapped(lambda *what: pytest.fail("a statement")):
        watch.release()
    assert states() == ["running"] * 2


def test_it_says_when_the_current_job_becomes_long():
    begin, watch = watched()
    assert watch.due_in == math.inf
    [row] = claim(1)
    begin(row, RELEASE_AFTER / 4)
    assert watch.due_in == pytest.approx(RELEASE_AFTER.total_seconds() * 3 / 4)
    begin(row, RELEASE_AFTER * 2)
    assert watch.due_in == 0
    watch.release()
    assert watch.due_in == math.inf
    begin(None, SECOND)
    assert watch.due_in == math.inf


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite locks no single rows")
def test_a_job_with_a_locked_row_does_not_hold_up_the_others():
    begin, watch = watched()
    rows = claim(3)
    begin(rows[1], SECOND)
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("SELECT id FROM django_delayed_delayedjob WHERE id = %s FOR UPDATE", [rows[1].pk])
        watch.release()
    finally:
        other.rollback()
        other.close()
    assert states() == ["enqueued", "running", "enqueued"]
    assert watch.due_in == math.inf
