"""An operator's moves: a job takes its key again, or is left out while an equal one waits."""

from datetime import timedelta

import pytest
from django.utils import timezone
from django_delayed import Unique, enqueue_all
from django_delayed.features.unique.keys import PUT_TO_NOW
from django_delayed.models import DelayedJob, UniqueKey
from django_delayed.operations import RETRY, RUN_NOW
from django_delayed.serialization.errors import describe
from tests.blog.jobs import Plain
from tests.blog.work import WORKER, claim

HOUR = timedelta(hours=1)
ERROR = describe(ValueError("it broke"))

pytestmark = pytest.mark.django_db(transaction=True)
each_until = pytest.mark.parametrize("unique", [Unique(), Unique(until="finish")], ids=["start", "finish"])


def fail_all():
    for row in DelayedJob.objects.claim(WORKER, 100):
        assert DelayedJob.objects.fail(row, ERROR)


@each_until
def test_a_retried_job_takes_its_key_again(write, unique):
    row = write(1, unique=unique)
    fail_all()
    assert DelayedJob.objects.retry() == 1
    assert write(1, unique=unique) is None
    assert UniqueKey.objects.get().delayed_job_id == row.pk


@each_until
def test_a_job_is_not_retried_while_an_equal_one_waits(write, unique):
    write(1, unique=unique)
    write(2, unique=unique)
    fail_all()
    waiting = write(1, unique=unique)
    assert DelayedJob.objects.retry() == 1
    assert DelayedJob.objects.failed().count() == 1
    assert DelayedJob.objects.filter(pk=waiting.pk).discard() == 1
    assert DelayedJob.objects.retry() == 1


@each_until
def test_the_first_of_equal_failed_jobs_is_retried(write, unique):
    rows = []
    for _ in range(3):
        rows.append(write(1, unique=unique))
        fail_all()
    assert DelayedJob.objects.retry() == 1
    assert DelayedJob.objects.waiting().get() == rows[0]


def test_a_key_that_was_removed_is_taken_again(write):
    write(1)
    fail_all()
    UniqueKey.objects.all().delete()
    assert DelayedJob.objects.retry() == 1
    assert write(1) is None


def test_plain_and_unique_jobs_are_retried_together_and_counted(write):
    enqueue_all([Plain(n) for n in range(5)])
    enqueue_all([Plain(n) for n in range(5)], unique=True)
    fail_all()
    enqueue_all([Plain(n) for n in range(2)], unique=True)
    ids = RETRY.ids(DelayedJob.objects.all())
    assert len(ids) == 10
    assert RETRY.carry_out(ids) == 8
    assert RETRY.left_out(ids) == 2
    assert DelayedJob.objects.failed().count() == 2


def test_more_unique_jobs_than_a_transaction_moves_are_retried(write):
    enqueue_all([Plain(n) for n in range(230)], unique=True)
    DelayedJob.objects.update(failed_at="2026-01-01T00:00Z")
    assert DelayedJob.objects.retry() == 230
    assert enqueue_all([Plain(n) for n in range(230)], unique=True) == [None] * 230


def test_jobs_that_are_spread_hold_their_keys_and_may_be_replaced_until_they_are_due(write):
    write(1)
    fail_all()
    assert DelayedJob.objects.retry(wait=HOUR) == 1
    assert write(1) is None
    row = write(1, unique=Unique(on_duplicate="replace"))
    assert DelayedJob.objects.get() == row


@each_until
def test_a_job_that_is_made_due_keeps_its_key(write, unique):
    row = write(1, unique=unique, wait=HOUR)
    assert DelayedJob.objects.run_now() == 1
    assert DelayedJob.objects.get().extras & PUT_TO_NOW
    assert write(1, unique=unique) is None
    assert UniqueKey.objects.get().delayed_job_id == row.pk


def test_a_job_is_not_made_due_while_another_holds_its_key(write):
    write(1)
    held = claim()
    other = write(1)
    assert DelayedJob.objects.reschedule(held, ERROR, HOUR)
    ids = RUN_NOW.ids(DelayedJob.objects.all())
    assert (ids, RUN_NOW.carry_out(ids), RUN_NOW.left_out(ids)) == ([held.pk], 0, 1)
    assert DelayedJob.objects.filter(pk=other.pk).discard() == 1
    assert RUN_NOW.carry_out(ids) == 1


def test_a_job_without_a_readable_key_in_its_payload_is_moved(write):
    write(1)
    fail_all()
    DelayedJob.objects.update(payload="{}")
    assert DelayedJob.objects.retry() == 1


def test_a_job_that_was_run_now_may_be_replaced_once_it_is_retrying(write):
    unique = Unique(until="finish", on_duplicate="replace")
    write(1, unique=unique, wait=HOUR)
    assert DelayedJob.objects.run_now() == 1
    assert write(1, unique=unique) is None
    assert DelayedJob.objects.reschedule(claim(), ERROR, HOUR)
    assert DelayedJob.objects.get() != write(1, unique=unique)
    assert DelayedJob.objects.count() == 1


@each_until
def test_an_adjusted_job_keeps_its_key(write, unique):
    row = write(1, unique=unique)
    then = timezone.now() + HOUR
    assert DelayedJob.objects.adjust(run_at=then, queue="slow", priority=5) == 1
    assert write(1, unique=unique) is None
    assert UniqueKey.objects.get().delayed_job_id == row.pk
    assert DelayedJob.objects.get().run_at == then


def test_a_job_that_was_run_now_may_be_replaced_once_its_time_is_adjusted(write):
    unique = Unique(on_duplicate="replace")
    write(1, unique=unique, wait=HOUR)
    assert DelayedJob.objects.run_now() == 1
    assert write(1, unique=unique) is None
    assert DelayedJob.objects.adjust(priority=5) == 1
    assert write(1, unique=unique) is None
    assert DelayedJob.objects.adjust(run_at=timezone.now()) == 1
    row = write(1, unique=unique)
    assert DelayedJob.objects.get() == row


@each_until
def test_a_job_that_is_given_up_holds_no_key(write, unique):
    given_up = write(1, unique=unique)
    assert DelayedJob.objects.reschedule(claim(), ERROR, HOUR)
    assert DelayedJob.objects.give_up("ann") == 1
    row = write(1, unique=unique)
    assert UniqueKey.objects.get().delayed_job_id == row.pk
    assert DelayedJob.objects.retry() == 0
    assert DelayedJob.objects.failed().get() == given_up
