"""Jobs that ask whether to stop, and those that ask to come again: snooze() and retry_job()."""

from datetime import timedelta
from unittest.mock import patch

import pytest
from django.db import connection, transaction
from django_delayed import enqueue, testing
from django_delayed.conf import CENTURY
from django_delayed.databases import DatabaseNow
from django_delayed.execution.outcomes import Failed, Rescheduled, Snoozed
from django_delayed.execution.stopping import Stop
from django_delayed.models import DelayedJob, FailedAttempt
from django_delayed.signals import job_errored, job_snoozed, job_started
from tests.blog import jobs
from tests.blog.jobs import Patient
from tests.blog.models import Post
from tests.blog.work import claim, perform, perform_next

pytestmark = pytest.mark.django_db


@pytest.fixture
def job_does(monkeypatch):
    """Have the next performed job call this with itself; gives its present row and the outcome."""

    def do(function):
        monkeypatch.setitem(jobs.CALLS, "patient", function)
        if not DelayedJob.objects.exists():
            Patient.perform_later()
        DelayedJob.objects.run_now()
        row, outcome = perform_next()
        return DelayedJob.objects.filter(pk=row.pk).first(), outcome

    return do


def raise_in(handler):
    def function(job):
        try:
            raise KeyError("x")
        except KeyError:
            handler(job)

    return function


@pytest.mark.parametrize("wait", [timedelta(minutes=10), 600])
def test_a_snoozed_job_comes_again_later_and_spends_no_attempt(job_does, diary, wait):
    row, outcome = job_does(lambda job: job.snooze(wait))
    assert isinstance(outcome, Snoozed)
    assert diary == [("attempt", 1), "around ends"]
    assert (row.state, row.attempts, row.last_error, row.locked_by) == ("scheduled", 0, "", "")
    due = DelayedJob.objects.filter(run_at__gt=DatabaseNow(plus=timedelta(minutes=9))).not_due()
    assert due.filter(run_at__lte=DatabaseNow(plus=timedelta(minutes=10))).get() == row
    assert not FailedAttempt.objects.exists()


def test_a_job_may_be_snoozed_more_often_than_it_has_attempts(job_does, diary):
    for _ in range(5):
        row, _ = job_does(lambda job: job.snooze(60))
    assert (row.state, row.attempts) == ("scheduled", 0)
    row, _ = job_does(raise_in(lambda job: 1 / 0))
    row, _ = job_does(lambda job: job.snooze(60))
    assert (row.state, row.attempts, row.error_class) == ("retrying", 1, "ZeroDivisionError")
    assert diary.count(("attempt", 1)) == 6
    assert diary.count(("attempt", 2)) == 1


def test_a_snooze_ends_the_count_of_crashes(job_does):
    Patient.perform_later()
    DelayedJob.objects.update(crashes=2)
    row, _ = job_does(lambda job: job.snooze(0))
    assert (row.crashes, row.state) == (0, "enqueued")


def test_a_snooze_has_a_signal_and_a_line_in_the_log(job_does, heard, caplog):
    row, _ = job_does(lambda job: job.snooze(90))
    [started, (signal, sender, pk, what)] = heard
    assert started[0] is job_started
    assert (signal, sender, pk, what["wait"]) == (job_snoozed, Patient, row.pk, timedelta(seconds=90))
    assert isinstance(what["job"], Patient)
    assert what["duration"] >= 0
    assert f"{row} SNOOZED for 90 s" in caplog.text


@pytest.mark.parametrize("wait", [-1, timedelta(seconds=-1), "soon", None, True])
def test_an_invalid_wait_is_an_error_of_the_job_at_the_call(job_does, wait):
    row, outcome = job_does(lambda job: job.snooze(wait))
    assert isinstance(outcome, Rescheduled)
    assert row.error_message.startswith("wait must")


def test_the_longest_wait_is_a_century(job_does):
    assert job_does(lambda job: job.snooze(timedelta.max))[0].state == "scheduled"
    assert job_does(lambda job: job.retry_job(wait=timedelta.max))[1].wait == CENTURY


def test_what_a_snoozed_job_wrote_in_a_transaction_of_its_own_is_rolled_back(job_does):
    def write(job):
        Post.objects.create(title="outside")
        with transaction.atomic():
            Post.objects.create(title="inside")
            job.snooze(60)

    job_does(write)
    assert list(Post.objects.values_list("title", flat=True)) == ["outside"]


@pytest.mark.django_db(transaction=True)
def test_a_snoozed_job_may_not_leave_a_transaction_open_either(job_does):
    def leave_open(job):
        connection.set_autocommit(False)
        Post.objects.create(title="lost")
        job.snooze(60)

    row, outcome = job_does(leave_open)
    assert (type(outcome), row.error_class) == (Rescheduled, "TransactionManagementError")


def test_a_job_may_ask_to_be_tried_again_as_after_an_error(job_does, diary, heard):
    row, outcome = job_does(lambda job: job.retry_job(wait=600))
    assert (type(outcome), outcome.wait) == (Rescheduled, timedelta(minutes=10))
    assert (row.state, row.attempts) == ("retrying", 1)
    assert (row.error_class, row.error_message) == ("JobRetried", "The job asked to be tried again.")
    assert diary == [("attempt", 1), "around ends", ("on_error", "JobRetried")]
    assert heard[-1][0] is job_errored


def test_a_job_that_is_tried_again_waits_as_after_any_error_if_it_does_not_say_for_how_long(job_does):
    assert job_does(lambda job: job.retry_job())[1].wait == timedelta(seconds=6)
    assert job_does(lambda job: job.retry_job())[1].wait == timedelta(seconds=21)
    assert isinstance(job_does(lambda job: job.retry_job(wait=5))[1], Failed)


def test_the_error_that_was_being_handled_is_the_error_of_the_attempt(job_does, diary):
    # This holds for an error in discard_on too.
    row, outcome = job_does(raise_in(lambda job: job.retry_job(wait=5)))
    assert isinstance(outcome, Rescheduled)
    assert (row.error_class, row.error_message) == ("KeyError", "'x'")
    assert "raise KeyError" in row.last_error
    assert ("on_error", "KeyError") in diary


@pytest.mark.parametrize("verb", ["snooze", "retry_job"])
def test_a_job_that_is_being_enqueued_cannot_come_again(monkeypatch, verb):
    monkeypatch.setattr(Patient, "after_enqueue", lambda job: getattr(job, verb)(wait=5))
    with pytest.raises(RuntimeError, match=rf"{verb}\(\) is for workers: no worker performs Patient here"):
        Patient.perform_later()


def test_a_job_that_is_performed_at_once_cannot_come_again(settings, diary, monkeypatch):
    for verb in ("snooze", "retry_job"):
        monkeypatch.setitem(jobs.CALLS, "patient", lambda job, verb=verb: getattr(job, verb)(wait=5))
        sentence = rf"{verb}\(\) is for workers: no worker performs Patient here"
        with pytest.raises(RuntimeError, match=sentence):
            Patient.perform_now()
        settings.DJANGO_DELAYED = {"DELAY_JOBS": False}
        with pytest.raises(RuntimeError, match=sentence):
            enqueue(Patient())
    assert diary.count(("attempt", 1)) == 4


def test_a_job_may_ask_often_whether_to_stop_and_that_takes_no_statement(
    monkeypatch, django_assert_num_queries
):
    answers, heard = iter([False, False, True]), []

    def ask(job):
        with django_assert_num_queries(0):
            heard.extend(job.should_stop() for _ in range(3))

    monkeypatch.setitem(jobs.CALLS, "patient", ask)
    Patient.perform_later()
    perform(claim(), stop=Stop(lambda: next(answers)))
    assert heard == [False, False, True]


def test_a_job_that_no_worker_performs_is_never_told_to_stop(settings, monkeypatch):
    heard = []
    monkeypatch.setitem(jobs.CALLS, "patient", lambda job: heard.append(job.should_stop()))
    Patient.perform_now()
    Patient.perform_later()
    testing.work_off()
    settings.DJANGO_DELAYED = {"DELAY_JOBS": False}
    enqueue(Patient())
    assert heard == [False] * 3


def test_a_test_may_tell_a_job_to_stop(monkeypatch):
    heard = []
    monkeypatch.setitem(jobs.CALLS, "patient", lambda job: heard.append(job.should_stop()))
    Patient.perform_later()
    with patch.object(Patient, "should_stop", side_effect=[True]):
        testing.work_off()
    assert heard == [True]
