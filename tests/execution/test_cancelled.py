"""Jobs that an operator ends while they run are told when they next ask, and cancelled however they end."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, transaction
from django_delayed import stats
from django_delayed.exceptions import JobCancelled, JobInterrupted, JobTimeout
from django_delayed.execution.outcomes import Cancelled, Finished
from django_delayed.execution.settle import settle
from django_delayed.execution.stopping import Stop, decide_after_cancel
from django_delayed.models import DelayedJob, FailedAttempt
from django_delayed.signals import job_cancelled
from django_delayed.states import CANCELLED
from tests.blog import jobs
from tests.blog.jobs import Hooked, HookedOnce, Patient
from tests.blog.models import Post
from tests.blog.work import claim, perform, perform_next, write

pytestmark = pytest.mark.django_db

CAUSE = "The error above led to the next one:"


@pytest.fixture
def asked(monkeypatch):
    """Have a job call this with itself while an operator ends it; gives its present row and the outcome.

    By default the operator asks before the job begins, and has a name.
    """

    def do(function, is_cancelled=lambda: True, by=lambda: "ann"):
        monkeypatch.setitem(jobs.CALLS, "patient", function)
        Patient.perform_later()
        row = claim()
        outcome = perform(row, stop=Stop(is_cancelled=is_cancelled, by=by))
        assert settle([(row, outcome)]) == []
        return DelayedJob.objects.filter(pk=row.pk).first(), outcome

    return do


def fail(error):
    def function(job):
        raise error

    return function


def test_a_job_that_is_told_to_end_and_returns_is_cancelled(asked, heard, caplog):
    caplog.set_level("INFO")
    row, outcome = asked(lambda job: job.should_stop())
    assert isinstance(outcome, Cancelled)
    assert (row.state, row.attempts, row.crashes, row.locked_by) == ("failed", 1, 0, "")
    assert (row.error_class, row.error_message) == ("JobCancelled", "Ended by ann.")
    assert row.last_error == "JobCancelled: Ended by ann.\n\nJobCancelled: Ended by ann."
    [attempt] = FailedAttempt.objects.all()
    assert (attempt.number, attempt.error_class) == (1, "django_delayed.exceptions.JobCancelled")
    _, (signal, sender, pk, what) = heard
    assert (signal, sender, pk) == (job_cancelled, Patient, row.pk)
    assert isinstance(what["exception"], JobCancelled)
    assert isinstance(what["job"], Patient)
    assert what["duration"] >= 0
    [line] = [record for record in caplog.records if "CANCELLED" in record.getMessage()]
    assert line.getMessage() == f"{row} CANCELLED with JobCancelled: Ended by ann."
    assert (line.levelname, line.job_id, line.error_class) == ("INFO", row.pk, "JobCancelled")


def test_a_job_that_never_asked_and_succeeded_is_finished(asked):
    row, outcome = asked(lambda job: None)
    assert isinstance(outcome, Finished)
    assert row is None


def test_a_job_that_asked_before_the_operator_did_is_finished(asked):
    later = []
    row, outcome = asked(lambda job: (job.should_stop(), later.append(1)), is_cancelled=lambda: bool(later))
    assert isinstance(outcome, Finished)
    assert row is None


def test_a_job_that_was_told_once_is_told_each_time(asked):
    answers, heard = iter([True, False, False, False]), []
    _, outcome = asked(
        lambda job: heard.extend(job.should_stop() for _ in range(3)), is_cancelled=lambda: next(answers)
    )
    assert heard == [True, True, True]
    assert isinstance(outcome, Cancelled)


ERRORS = [ValueError("x"), KeyError("named by discard_on"), SystemExit(3), JobTimeout("too long")]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_job_that_ends_with_any_error_is_cancelled_and_the_error_can_be_read(asked, heard, error):
    row, outcome = asked(fail(error))
    assert isinstance(outcome, Cancelled)
    assert (row.state, row.error_class, row.error_fingerprint) == ("failed", "JobCancelled", CANCELLED)
    text = row.last_error
    assert text.index(type(error).__name__) < text.index(CAUSE) < text.rindex("JobCancelled: Ended by ann.")
    assert [signal for signal, *_ in heard][1:] == [job_cancelled]


@pytest.mark.parametrize("verb", ["snooze", "retry_job"])
def test_a_job_that_asks_to_come_again_is_cancelled(asked, verb):
    row, outcome = asked(lambda job: getattr(job, verb)(wait=0))
    assert isinstance(outcome, Cancelled)
    assert row.state == "failed"


def test_a_job_that_is_interrupted_too_is_cancelled(asked):
    row, outcome = asked(fail(JobInterrupted()))
    assert isinstance(outcome, Cancelled)
    assert row.last_error == "JobCancelled: Ended by ann.\n\nJobCancelled: Ended by ann."


def test_a_job_that_cannot_be_loaded_is_cancelled(heard):
    write({"job": "tests.blog.jobs:Gone", "args": [], "kwargs": {}})
    row = claim()
    outcome = perform(row, stop=Stop(is_cancelled=lambda: True))
    assert isinstance(outcome, Cancelled)
    assert outcome.error.message == "Ended by an operator."
    assert outcome.job is None


def test_no_hook_for_errors_runs(diary):
    Hooked.perform_later("perform")
    outcome = perform(claim(), stop=Stop(is_cancelled=lambda: True))
    assert isinstance(outcome, Cancelled)
    assert diary[2:] == ["before_perform", "around begins", "perform", "around ends"]


def test_what_it_wrote_in_an_open_transaction_is_rolled_back(asked):
    def write_and_end(job):
        Post.objects.create(title="outside")
        with transaction.atomic():
            Post.objects.create(title="inside")
            job.snooze(0)

    asked(write_and_end)
    assert list(Post.objects.values_list("title", flat=True)) == ["outside"]


def test_the_operator_is_left_out_when_the_name_cannot_be_read(asked, caplog):
    def away():
        raise DatabaseError("away")

    row, _ = asked(fail(ValueError("x")), by=away)
    assert row.error_message == "Ended by an operator."
    assert f"{row}: the name of the operator who ended it cannot be read now" in caplog.text


@pytest.mark.parametrize("crashes", [0, 2])
def test_a_job_that_was_killed_for_it_is_cancelled_too(crashes):
    Patient.perform_later()
    DelayedJob.objects.update(crashes=crashes)
    row = claim()
    settle([(row, decide_after_cancel(row, "ann", how=", and killed after 25 s"))])
    row.refresh_from_db()
    assert (row.state, row.crashes) == ("failed", 0)
    assert row.error_message == "Ended by ann, and killed after 25 s."


def test_a_cancelled_job_has_no_cause(asked):
    HookedOnce.perform_later("perform")
    perform_next()
    asked(fail(ValueError("x")))
    assert DelayedJob.objects.failed().count() == 2
    assert [cause.jobs for cause in stats.causes(10)] == [1]


def test_it_is_kept_and_deleted_as_other_failed_jobs_are(asked, settings):
    settings.DJANGO_DELAYED = {"KEEP_FAILED_FOR": timedelta(days=3)}
    row, _ = asked(lambda job: job.should_stop())
    assert row.expires_at - row.failed_at == timedelta(days=3)
    settings.DJANGO_DELAYED = {"DESTROY_FAILED_JOBS": True}
    row, _ = asked(lambda job: job.should_stop())
    assert row is None


def test_an_operator_may_retry_it(asked, diary):
    row, _ = asked(lambda job: job.should_stop())
    assert DelayedJob.objects.filter(pk=row.pk).retry() == 1
    assert perform_next()[0] == row
    assert not DelayedJob.objects.exists()


def test_a_cancel_after_the_claim_was_lost_changes_nothing(asked):
    Patient.perform_later()
    row = claim()
    DelayedJob.objects.update(lock_token=7)
    assert settle([(row, decide_after_cancel(row, "ann"))]) == [row]
    assert DelayedJob.objects.get().state == "running"
