"""Jobs that are tried again by rules of their own, from attempt to attempt."""

import json
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django_delayed import RecordNotFound
from django_delayed.conf import CENTURY
from django_delayed.databases import DatabaseNow
from django_delayed.execution.deaths import decide_after_crash, decide_after_kill
from django_delayed.execution.outcomes import Failed, Rescheduled, decide
from django_delayed.execution.settle import settle
from django_delayed.jobs import rules
from django_delayed.models import DelayedJob, FailedAttempt, FailedAttemptQuerySet
from django_delayed.testing import work_off
from tests.blog import jobs
from tests.blog.jobs import Hurried, Ruled
from tests.blog.models import Post
from tests.blog.work import claim, perform_next

pytestmark = pytest.mark.django_db


@pytest.fixture
def fail_with(monkeypatch):
    """Let the waiting job fail with each of these errors in turn; gives the last outcome."""

    def fail(*errors):
        for error in errors:
            monkeypatch.setitem(jobs.CALLS, "ruled", lambda error=error: error)
            DelayedJob.objects.run_now()
            _, outcome = perform_next()
        return outcome

    return fail


def test_each_rule_counts_its_own_errors(fail_with, diary):
    Ruled.perform_later()
    assert fail_with(ConnectionError()).wait == timedelta(seconds=60)
    assert fail_with(ValueError()).wait == timedelta(seconds=6)
    assert fail_with(KeyError()).wait == timedelta(minutes=1)
    # Its second error without a rule waits as a second one does, though it is the fourth.
    assert fail_with(ValueError()).wait == timedelta(seconds=21)
    assert fail_with(KeyError()).wait == timedelta(minutes=2)
    assert diary == []
    assert isinstance(fail_with(TimeoutError()), Failed)
    assert diary == [("on_failure", "TimeoutError")]
    assert DelayedJob.objects.failed().get().attempts == 6


@pytest.mark.parametrize("errors", [[ValueError()] * 3, [KeyError()] * 3, [TimeoutError()] * 2])
def test_the_attempts_of_a_rule_are_max_attempts_unless_it_says_otherwise(fail_with, errors):
    Ruled.perform_later()
    assert isinstance(fail_with(*errors[:-1]), Rescheduled)
    assert isinstance(fail_with(errors[-1]), Failed)


def test_errors_with_a_rule_do_not_spend_the_attempts_of_others(fail_with):
    Ruled.perform_later()
    fail_with(KeyError(), KeyError(), TimeoutError())
    assert isinstance(fail_with(ValueError(), ValueError()), Rescheduled)
    assert isinstance(fail_with(ValueError()), Failed)


def test_a_rule_counts_beyond_the_failed_attempts_that_are_kept(fail_with, monkeypatch):
    monkeypatch.setattr(
        Ruled, "retry_on", (rules.Retry(KeyError, attempts=2), rules.Retry(OSError, attempts=30))
    )
    Ruled.perform_later()
    fail_with(KeyError(), *[OSError()] * 15)
    assert FailedAttempt.objects.count() == 10
    assert isinstance(fail_with(KeyError()), Failed)


def test_the_operators_retry_resets_all_counts(fail_with):
    Ruled.perform_later()
    fail_with(KeyError(), TimeoutError(), TimeoutError())
    assert DelayedJob.objects.retry() == 1
    assert isinstance(fail_with(ValueError(), ValueError()), Rescheduled)
    assert isinstance(fail_with(TimeoutError()), Rescheduled)
    assert isinstance(fail_with(TimeoutError()), Failed)


def test_a_crash_spends_an_attempt_that_no_rule_counts(fail_with):
    Ruled.perform_later()
    fail_with(KeyError(), KeyError())
    row, _ = crash()
    # The rule counts two of the three attempts.
    assert (row.attempts, row.max_attempts, row.state) == (3, 3, "retrying")
    assert isinstance(fail_with(ValueError()), Rescheduled)
    row, crashed = crash()
    assert (row.attempts, row.state, crashed.wait) == (5, "failed", None)


def crash():
    DelayedJob.objects.run_now()
    row = claim()
    outcome = decide_after_crash(row, "its worker fell")
    assert settle([(row, outcome)]) == []
    row.refresh_from_db()
    return row, outcome


def test_a_kill_at_the_deadline_spends_an_attempt_that_no_rule_counts(fail_with):
    Ruled.perform_later()
    fail_with(KeyError(), KeyError())
    DelayedJob.objects.run_now()
    row = claim()
    assert isinstance(decide_after_kill(row, timedelta(seconds=5)), Rescheduled)
    row.attempts = 5
    assert isinstance(decide_after_kill(row, timedelta(seconds=5)), Failed)


def test_a_rule_may_try_again_what_would_fail_at_once(diary):
    post = Post.objects.create(title="x")
    Ruled.perform_later(post)
    post.delete()
    assert isinstance(perform_next()[1], Rescheduled)
    DelayedJob.objects.run_now()
    _, outcome = perform_next()
    assert (type(outcome), type(outcome.exception)) == (Failed, RecordNotFound)


def test_no_rule_applies_when_the_database_is_unavailable_while_a_job_is_loaded(monkeypatch):
    monkeypatch.setattr(Ruled, "retry_on", (rules.Retry(OperationalError, attempts=1),))
    written = DelayedJob(pk=1, name="a job", payload=Ruled(1).dump(), attempts=1, max_attempts=25)
    assert isinstance(decide(written, None, OperationalError()), Rescheduled)
    assert isinstance(decide(written, Ruled(1), OperationalError()), Failed)


@pytest.mark.parametrize("wait", ["soon", -1, timedelta.max, None])
def test_a_function_of_a_rule_that_is_broken_does_not_lose_the_job(monkeypatch, fail_with, caplog, wait):
    monkeypatch.setattr(Ruled, "retry_on", (rules.Retry(KeyError, wait=lambda failures, error: wait),))
    Ruled.perform_later()
    expected = {
        "soon": timedelta(seconds=6),
        -1: timedelta(0),
        timedelta.max: CENTURY,
        None: timedelta(seconds=6),
    }
    assert fail_with(KeyError()).wait == expected[wait]
    broken = "its wait of Retry(KeyError) is broken; the default wait is used"
    assert (broken in caplog.text) is (wait in ("soon", None))


def test_a_job_is_given_up_when_its_next_attempt_would_begin_too_late(monkeypatch):
    Hurried.perform_later()
    monkeypatch.setitem(jobs.CALLS, "hurried", lambda: 40)
    assert isinstance(perform_next()[1], Rescheduled)
    # The second attempt begins 30 seconds after the first.
    monkeypatch.setitem(jobs.CALLS, "hurried", lambda: 0)
    pretend_first_attempt_was(30)
    assert isinstance(perform_next()[1], Rescheduled)
    monkeypatch.setitem(jobs.CALLS, "hurried", lambda: 40)
    assert isinstance(perform_next()[1], Failed)


def test_a_job_is_tried_for_as_long_as_it_says(monkeypatch, diary):
    monkeypatch.setitem(jobs.CALLS, "hurried", lambda: 25)
    Hurried.perform_later()
    # They begin after 0, 25 and 50 seconds; the next attempt would begin after 75.
    assert work_off(until=timedelta(days=1), raise_errors=False) == 3
    assert DelayedJob.objects.failed().get().attempts == 3


def test_the_time_of_a_job_begins_with_its_first_attempt_and_again_after_a_retry(monkeypatch):
    monkeypatch.setitem(jobs.CALLS, "hurried", lambda: 40)
    Hurried.perform_later()
    DelayedJob.objects.update(created_at=DatabaseNow(plus=timedelta(days=-1)))
    assert isinstance(perform_next()[1], Rescheduled)
    pretend_first_attempt_was(60)
    DelayedJob.objects.run_now()
    assert isinstance(perform_next()[1], Failed)
    DelayedJob.objects.retry()
    assert isinstance(perform_next()[1], Rescheduled)


def pretend_first_attempt_was(seconds):
    """Move the beginning of the first attempt so many seconds back."""
    history = rules.History.from_json(FailedAttempt.objects.get().history)
    moved = rules.History(history.counts, history.began - seconds)
    FailedAttempt.objects.update(history=moved.to_json())
    DelayedJob.objects.run_now()


def test_a_job_without_rules_has_no_history_and_reads_none(monkeypatch):
    monkeypatch.setattr(FailedAttemptQuerySet, "history_before", None)
    jobs.Impatient.perform_later(1)
    perform_next()
    DelayedJob.objects.run_now()
    assert isinstance(perform_next()[1], Failed)
    assert set(FailedAttempt.objects.values_list("history", flat=True)) == {""}


# With connections of its own


@pytest.mark.django_db(transaction=True)
def test_what_rules_count_is_read_on_the_queues_connection(monkeypatch):
    def forget_attempts():
        connection.set_autocommit(False)
        FailedAttempt.objects.all().delete()
        return KeyError()

    Ruled.perform_later()
    monkeypatch.setitem(jobs.CALLS, "ruled", KeyError)
    perform_next()
    monkeypatch.setitem(jobs.CALLS, "ruled", forget_attempts)
    DelayedJob.objects.run_now()
    # The transaction that the job left open is rolled back, so its DELETE does not count.
    assert perform_next()[1].wait == timedelta(minutes=2)
    assert FailedAttempt.objects.count() == 2


def test_a_job_is_not_given_up_while_its_history_cannot_be_read(monkeypatch, fail_with, caplog):
    def refuse(self, row):
        raise OperationalError("away")

    Ruled.perform_later()
    fail_with(TimeoutError())
    with monkeypatch.context() as patched:
        patched.setattr(FailedAttemptQuerySet, "history_before", refuse)
        assert isinstance(fail_with(TimeoutError()), Rescheduled)
    assert "the history of its rules cannot be read now" in caplog.text
    # What was counted is not lost.
    assert isinstance(fail_with(TimeoutError()), Failed)


def test_nothing_is_read_after_the_first_failure(monkeypatch, fail_with):
    monkeypatch.setattr(FailedAttemptQuerySet, "history_before", None)
    Ruled.perform_later()
    assert isinstance(fail_with(KeyError()), Rescheduled)
    assert json.loads(FailedAttempt.objects.get().history)[0] == {"builtins.LookupError": 1}
