"""Jobs that are discarded if they are not begun in time."""

from datetime import timedelta

import pytest
from django_delayed.databases import DatabaseNow
from django_delayed.execution.outcomes import Discarded, Finished, Rescheduled, Snoozed
from django_delayed.models import DelayedJob
from django_delayed.serialization.errors import describe
from django_delayed.signals import job_discarded
from tests.blog import jobs
from tests.blog.jobs import Perishable
from tests.blog.work import claim, perform_next

pytestmark = pytest.mark.django_db


def make_late(minutes=11):
    """Make the waiting job late, by so many minutes after its run_at."""
    DelayedJob.objects.update(run_at=DatabaseNow(plus=timedelta(minutes=-minutes)))


def test_a_job_that_is_not_begun_in_time_is_discarded(diary, heard, caplog):
    Perishable.perform_later()
    make_late()
    _, outcome = perform_next()
    assert isinstance(outcome, Discarded)
    assert not DelayedJob.objects.exists()
    [(hook, why)] = diary
    assert hook == "after_discard"
    assert why.startswith("Perishable was due at ")
    assert why.endswith(", and had 0:10:00 to begin.")
    assert heard[-1][0] is job_discarded
    assert "DISCARDED with JobExpired" in caplog.text


def test_a_job_that_is_begun_in_time_is_performed(diary):
    Perishable.perform_later()
    make_late(9)
    assert isinstance(perform_next()[1], Finished)
    assert diary == ["before_perform", "perform"]


def test_the_time_begins_when_a_job_is_due_and_not_at_its_enqueue(diary):
    Perishable.set(wait=timedelta(days=1)).perform_later()
    DelayedJob.objects.update(created_at=DatabaseNow(plus=timedelta(days=-1)), run_at=DatabaseNow())
    assert isinstance(perform_next()[1], Finished)


def test_a_job_that_was_begun_once_does_not_expire_any_more(diary):
    Perishable.perform_later("fail")
    assert isinstance(perform_next()[1], Rescheduled)
    make_late()
    assert isinstance(perform_next()[1], Rescheduled)


def test_the_time_of_a_snoozed_job_begins_again(monkeypatch, diary):
    Perishable.perform_later("snooze")
    monkeypatch.setitem(jobs.CALLS, "snooze", lambda: True)
    make_late(9)
    assert isinstance(perform_next()[1], Snoozed)
    monkeypatch.setitem(jobs.CALLS, "snooze", lambda: False)
    assert isinstance(perform_next()[1], Finished)


@pytest.mark.parametrize("move", ["retry", "run_now"])
def test_an_operator_may_begin_it_later(move, diary):
    Perishable.perform_later()
    if move == "retry":
        DelayedJob.objects.fail(claim(), describe(ValueError()))
        DelayedJob.objects.update(run_at=DatabaseNow(plus=timedelta(hours=-1)))
        assert DelayedJob.objects.retry() == 1
    else:
        DelayedJob.objects.update(run_at=DatabaseNow(plus=timedelta(hours=1)))
        assert DelayedJob.objects.run_now() == 1
    assert isinstance(perform_next()[1], Finished)


def test_a_job_that_is_performed_at_once_is_always_in_time(settings, diary):
    Perishable.perform_now()
    settings.DJANGO_DELAYED = {"DELAY_JOBS": False}
    Perishable.perform_later()
    assert diary.count("perform") == 2


def test_a_job_of_a_subclass_may_never_expire(diary):
    class Lasting(Perishable):
        expires = None

    assert Lasting.perform_now() is None
    assert diary == ["before_perform", "perform"]
