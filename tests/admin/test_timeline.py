"""The attempts of a job on its page: how long each waited and ran, and how it ended."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone
from django_delayed.admin.timeline import attempt_lines
from django_delayed.models import ATTEMPTS_KEPT, DelayedJob
from django_delayed.serialization.errors import describe
from django_delayed.states import State

HOUR = timedelta(hours=1)
START = datetime(2026, 5, 4, 13, 58, tzinfo=UTC)
W1 = "1" * 32


def at(seconds):
    return START + timedelta(seconds=seconds)


def numbers_in(lines):
    return [(line.number, line.waited, line.ran) for line in lines]


@pytest.fixture
def attempt(failed_attempt):
    """Write an attempt that ran between these seconds after START."""

    def write(row, number, started, ended, **columns):
        return failed_attempt(row, number, started_at=at(started), ended_at=at(ended), **columns)

    return write


def test_attempts_are_listed_in_order_with_their_waiting_and_running_times(job, attempt, worker):
    row = job(created_at=START, attempts=3)
    attempt(row, 1, 4.1, 6.1, error="")
    attempt(row, 2, 12, 12.004, error="", worker="gone", hostname="web-9")
    attempt(row, 3, 20 + 3600, 20 + 3600 + 150)
    lines = attempt_lines(row)
    assert numbers_in(lines) == [
        (1, "4.1 s", "2.0 s"),
        (2, "5.9 s", "4 ms"),
        (3, "1\xa0hour", "2\xa0minutes"),
    ]
    assert [line.worker for line in lines] == ["host:web-2 pid:77", "web-9 gone", "host:web-2 pid:77"]
    assert [bool(line.text) for line in lines] == [False, False, True]
    assert {line.error for line in lines} == {"ConnectionError: the server hung up"}


def test_the_wait_of_an_attempt_after_a_retry_counts_from_the_previous_attempt(job, attempt):
    row = job(created_at=START, attempts=1)
    attempt(row, 1, 1, 2)
    attempt(row, 2, 5, 6)
    attempt(row, 1, 16, 17)
    assert [line[:2] for line in attempt_lines(row)] == [(1, "1.0 s"), (2, "3.0 s"), (1, "10.0 s")]


@pytest.mark.parametrize(
    ("first", "count", "waited"),
    [(1, ATTEMPTS_KEPT - 1, "1.0 s"), (1, ATTEMPTS_KEPT, ""), (2, 3, "")],
    ids=["all there", "as many as are kept", "one is missing"],
)
def test_the_wait_of_the_first_attempt_is_unknown_if_earlier_ones_may_be_missing(
    job, attempt, first, count, waited
):
    row = job(created_at=START)
    for number in range(count):
        attempt(row, first + number, 1 + number * 10, 2 + number * 10)
    lines = attempt_lines(row)
    assert [line.waited for line in lines] == [waited] + ["9.0 s"] * (count - 1)


def test_a_running_job_has_a_line_for_its_current_attempt(job, attempt, worker):
    now = timezone.now()
    row = job(State.RUNNING, created_at=START, attempts=2, started_at=now - HOUR)
    attempt(row, 1, 1, 2)
    first, present = attempt_lines(row)
    assert (first.number, present.number) == (1, 2)
    assert present.ran.endswith(" so far")
    assert "hour" in present.ran
    assert present.worker == "host:web-2 pid:77"
    assert "delayed-running" in present.error


def test_a_finished_job_ends_with_its_successful_attempt(job, attempt):
    row = job(State.FINISHED, created_at=START, attempts=2, started_at=at(10), finished_at=at(12.5))
    attempt(row, 1, 1, 2)
    *_, last = attempt_lines(row)
    assert (last.number, last.waited, last.ran) == (2, "8.0 s", "2.5 s")
    assert "delayed-finished" in last.error


@pytest.mark.parametrize("state", [State.SCHEDULED, State.ENQUEUED, State.RETRYING])
def test_a_waiting_job_has_a_line_for_its_next_attempt(job, state):
    row = job(state, created_at=timezone.now() - HOUR)
    [line] = attempt_lines(row)
    assert (line.number, line.started, line.ran) == (row.attempts + 1, None, "")
    assert line.waited.endswith(" so far")
    assert f"delayed-{state.value}" in line.error


def test_a_failed_job_without_a_record_has_no_attempts(operator, page, job):
    row = job()
    assert attempt_lines(row) == []
    assert 'id="attempts"' not in operator.get(page(row.pk, of="change")).text


def test_negative_spans_are_shown_as_zero_and_unknown_ones_are_empty(job, attempt, failed_attempt):
    row = job(created_at=START)
    attempt(row, 1, -5, -6)
    failed_attempt(row, 2, started_at=None, ended_at=at(8))
    attempt(row, 3, 9, 10)
    assert numbers_in(attempt_lines(row)) == [(1, "0 ms", "0 ms"), (2, "", ""), (3, "1.0 s", "1.0 s")]


def test_the_attempts_of_real_claims_are_listed_with_their_errors(db, operator, page):
    DelayedJob.objects.create(name="a job", payload="{}")
    for number in range(3):
        [held] = DelayedJob.objects.claim(W1)
        assert DelayedJob.objects.reschedule(held, describe(ValueError(f"no {number}")), -HOUR)
    [held] = DelayedJob.objects.claim(W1)
    lines = attempt_lines(held)
    assert [line.number for line in lines] == [1, 2, 3, 4]
    assert [line.error for line in lines[:3]] == [f"ValueError: no {number}" for number in range(3)]
    assert all(line.waited and line.ran and line.worker for line in lines)
    text = operator.get(page(held.pk, of="change")).text
    assert text.index("ValueError: no 0") < text.index("ValueError: no 1") < text.index("no 2</summary>")
    assert DelayedJob.objects.fail(held, describe(ValueError("no more")))
    assert [line.number for line in attempt_lines(DelayedJob.objects.get())] == [1, 2, 3, 4]
