"""`keep_for` and the result of a job: how long its row is kept, and what it has returned."""

from datetime import timedelta

import pytest
from django_delayed import DontPerform, Job, SerializationError
from django_delayed.execution.outcomes import Failed, Finished, Rescheduled
from django_delayed.execution.settle import is_plain, settle_together
from django_delayed.models import DelayedJob
from tests.blog.jobs import CALLS, AtomicReturning, Plain, Remembered, Returning, Silent
from tests.blog.work import WORKER, claim, perform, perform_next, work_off

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture
def returning(monkeypatch):
    """Enqueue a job that returns this; gives its row."""

    def enqueue(value, job_class=Returning):
        function = value if callable(value) else lambda job: value
        monkeypatch.setitem(CALLS, "returning", function)
        return job_class.perform_later("returning")

    return enqueue


@pytest.mark.parametrize("job_class", [Returning, AtomicReturning])
def test_what_perform_has_returned_is_read_from_the_row(returning, job_class):
    row = returning({"imported": 3, "rejected": ["17"]}, job_class)
    work_off()
    row.refresh_from_db()
    assert row.return_value == {"imported": 3, "rejected": ["17"]}


@pytest.mark.parametrize(
    ("returned", "read"),
    [
        (None, None),
        (True, True),
        (2**80, 2**80),
        (0.5, 0.5),
        ("naïve\x00", "naïve\x00"),
        (b"text", "text"),
        ((1, (2, 3)), [1, [2, 3]]),
        ({1: "a"}, {"1": "a"}),
    ],
    ids=repr,
)
def test_it_is_read_as_json_has_it(returning, returned, read):
    row = returning(returned)
    perform_next()
    row.refresh_from_db()
    assert row.return_value == read


@pytest.mark.parametrize(
    ("returned", "error"),
    [
        ({1, 2}, "Unsupported type"),
        (object(), "Unsupported type"),
        (float("nan"), "ValueError"),
        (b"\xff", "Unsupported value"),
        ({1: "a", "1": "b"}, "two keys that are equal in JSON"),
    ],
    ids=["set", "object", "nan", "bytes", "keys"],
)
def test_a_value_that_json_cannot_store_is_an_error_of_the_job(returning, returned, error):
    returning(returned)
    _, outcome = perform_next()
    assert isinstance(outcome, Rescheduled)
    assert error in outcome.error.text
    with pytest.raises((TypeError, ValueError)):
        Returning.perform_now("returning")


def test_a_value_that_contains_itself_is_an_error_of_the_job(returning):
    value = []
    value.append(value)
    returning(value)
    assert "It contains itself" in perform_next()[1].error.text


def test_a_large_value_is_refused(returning, settings):
    settings.DJANGO_DELAYED = {"MAX_ARGUMENTS_SIZE": 1000}
    returning("x" * 1000)
    outcome = perform_next()[1]
    assert isinstance(outcome.exception, SerializationError)
    assert "bytes of at most 1,000 (DJANGO_DELAYED['MAX_ARGUMENTS_SIZE'])" in outcome.error.text


def test_a_row_that_has_not_finished_has_no_return_value(returning):
    row = returning(1)
    with pytest.raises(ValueError, match=f"Returning #{row.pk} has not finished"):
        row.return_value  # noqa: B018
    running = claim()
    with pytest.raises(ValueError, match="has not finished"):
        running.return_value  # noqa: B018


def test_a_job_that_fails_keeps_no_result(returning):
    def fail(job):
        raise ZeroDivisionError

    row = returning(fail)
    DelayedJob.objects.update(max_attempts=1)
    assert isinstance(perform_next()[1], Failed)
    row.refresh_from_db()
    assert row.result == ""


def test_a_job_that_was_not_performed_returns_none(returning):
    def refuse(job):
        raise DontPerform

    row = returning(refuse)
    assert isinstance(perform_next()[1], Finished)
    row.refresh_from_db()
    assert row.return_value is None


def test_a_later_attempt_keeps_what_it_returns(returning):
    row = returning(lambda job: 1 / (job.executions - 1))
    assert isinstance(perform_next()[1], Rescheduled)
    DelayedJob.objects.run_now()
    perform_next()
    row.refresh_from_db()
    assert row.return_value == 1


def test_results_are_kept_as_long_as_those_of_tasks(returning, settings):
    assert returning(1).keep_for == timedelta(days=1)
    settings.DJANGO_DELAYED = {"RESULT_TTL": HOUR}
    assert returning(1).keep_for == HOUR
    settings.DJANGO_DELAYED = {"RESULT_TTL": HOUR, "KEEP_FINISHED_FOR": 2 * HOUR}
    assert returning(1).keep_for == 2 * HOUR


def test_a_class_says_how_long_its_rows_are_kept(settings):
    settings.DJANGO_DELAYED = {"KEEP_FINISHED_FOR": 2 * HOUR}
    row = Remembered.perform_later()
    perform_next()
    row.refresh_from_db()
    assert row.expires_at - row.finished_at == HOUR
    assert row.result == ""
    assert row.return_value is None


def test_rows_with_results_are_plain_and_go_together(returning):
    rows = [returning(1), Remembered.perform_later(), Plain.perform_later(1)]
    assert [row.extras for row in rows] == [0, 0, 0]
    assert all(is_plain(row, Finished(Job(), 0)) for row in rows)


def test_each_row_of_a_batch_has_its_own_result(returning):
    rows = [returning(lambda job: job.delayed_job.id) for _ in range(3)]
    claimed = DelayedJob.objects.claim(WORKER, 10)
    assert settle_together([(row, perform(row)) for row in claimed], lambda: False) == []
    for row in rows:
        row.refresh_from_db()
        assert row.return_value == row.pk


def test_the_return_values_of_other_jobs_are_not_kept(settings):
    settings.DJANGO_DELAYED = {"KEEP_FINISHED_FOR": HOUR}
    row = Plain.perform_later(1)
    perform_next()
    row.refresh_from_db()
    assert (row.result, row.return_value) == ("", None)


def test_perform_now_returns_the_value_as_json_has_it(monkeypatch):
    monkeypatch.setitem(CALLS, "returning", lambda job: (1, 2))
    assert Returning.perform_now("returning") == [1, 2]


def test_a_job_that_is_performed_where_it_is_enqueued_keeps_it_in_its_unsaved_row(returning, settings):
    settings.DJANGO_DELAYED = {"DELAY_JOBS": False}
    row = returning(7)
    assert row.pk is None
    assert row.return_value == 7


def test_the_worker_is_kept_with_the_value(returning):
    row = returning(1)
    perform_next()
    row.refresh_from_db()
    assert row.result == f'{{"value":1,"worker":"{WORKER}"}}'


def test_a_subclass_may_keep_no_result(returning):
    row = returning(1, Silent)
    assert (row.keep_for, row.extras) == (HOUR, 0)


@pytest.mark.parametrize(
    ("attributes", "error", "sentence"),
    [
        ({"result": 1}, TypeError, "result must be True or False, not 1"),
        ({"result": lambda self: 1}, TypeError, "result must be True or False"),
        ({"keep_for": "1h"}, TypeError, "keep_for must be a timedelta or a number of seconds"),
        ({"keep_for": True}, TypeError, "keep_for must be a timedelta"),
        ({"keep_for": 0}, ValueError, "keep_for must be longer than 0 seconds"),
        ({"keep_for": -1}, ValueError, "keep_for must not be negative"),
        ({"keep_for": float("nan")}, ValueError, "keep_for is out of range"),
        ({"keep_for": timedelta.max}, ValueError, "keep_for must be at most"),
        ({"keepfor": 1}, TypeError, "did you mean keep_for"),
        ({"results": True}, TypeError, "did you mean result"),
    ],
)
def test_wrong_values_are_errors_when_the_class_is_defined(attributes, error, sentence):
    with pytest.raises(error, match=sentence):
        type("Wrong", (Job,), attributes)
