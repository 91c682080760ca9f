"""A crash of the worker in a long job is not counted if the job got further than at the one before."""

import pytest
from django_delayed.execution.deaths import decide_after_crash, decide_after_death
from django_delayed.execution.outcomes import Crashed, Interrupted, Suspected
from django_delayed.execution.settle import settle
from django_delayed.features.iteration import cursors
from django_delayed.models import DelayedJob, FailedAttempt, JobCursor
from tests.blog.jobs import Plain
from tests.blog.work import claim

pytestmark = pytest.mark.django_db

KEY = cursors.key_of("", "blog.post")


@pytest.fixture
def crash():
    """Let the worker of the next row die after its job has put the cursor to `at`. Returns the outcome."""

    def die(at=None):
        row = claim()
        if at is not None:
            JobCursor.objects.put(row, {KEY: cursors.dump("blog.post", at)})
            DelayedJob.objects.mark_held(row, 16)
        # Read it as the supervisor does.
        row = DelayedJob.objects.get(pk=row.pk)
        outcome = decide_after_crash(row, "its worker was killed")
        assert settle([(row, outcome)]) == []
        DelayedJob.objects.filter(pk=row.pk).run_now()
        return outcome

    return die


def test_a_crash_of_a_job_that_got_further_is_not_counted(crash, caplog):
    row = Plain.perform_later()
    for at in range(10):
        assert crash(at) == Interrupted("its worker was killed")
    row.refresh_from_db()
    assert (row.state, row.attempts, row.crashes, row.last_error) == ("enqueued", 0, 0, "")
    assert not FailedAttempt.objects.exists()
    line = f"{row}: its worker was killed, after the job had made progress; it continues from its cursor"
    assert caplog.messages.count(line) == 10


def test_a_job_that_crashes_without_getting_further_is_given_up(crash):
    row = Plain.perform_later()
    outcomes = [crash(1), crash(), crash(1), crash()]
    assert [type(outcome) for outcome in outcomes] == [Interrupted, Crashed, Crashed, Crashed]
    row.refresh_from_db()
    assert (row.state, row.attempts, row.crashes) == ("failed", 3, 3)


def test_a_job_with_an_unchanged_cursor_got_no_further(crash):
    """Such a job starts from the beginning each time, and dies at the same place."""
    Plain.perform_later()
    outcomes = [crash(7), crash(7), crash(7)]
    assert [type(outcome) for outcome in outcomes] == [Interrupted, Crashed, Crashed]


def test_a_crash_of_a_job_that_got_further_resets_the_count_of_crashes_in_a_row(crash):
    row = Plain.perform_later()
    assert [type(crash(at)) for at in (None, None, 1, None, None)] == [
        *(Crashed, Crashed, Interrupted, Crashed, Crashed)
    ]
    row.refresh_from_db()
    assert (row.state, row.attempts, row.crashes) == ("retrying", 4, 2)


def test_a_crash_of_a_plain_job_takes_no_query_for_cursors(django_assert_num_queries):
    Plain.perform_later()
    row = claim()
    with django_assert_num_queries(0):
        assert isinstance(decide_after_crash(row, "its worker was killed"), Crashed)


def test_a_long_job_that_was_not_alone_becomes_a_suspect():
    Plain.perform_later()
    assert decide_after_death(claim(), "its worker was killed", was_alone=False) == Suspected()


def test_a_long_job_that_was_a_suspect_goes_on(crash):
    row = Plain.perform_later()
    claimed = claim()
    assert DelayedJob.objects.suspect(claimed)
    assert crash(1) == Interrupted("its worker was killed")
    row.refresh_from_db()
    assert row.extras == 16
