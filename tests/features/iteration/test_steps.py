"""with self.step(name): a step that is done is not repeated, and the job sets its cursor."""

from datetime import date

import pytest
from django.db import transaction
from django_delayed import Job
from django_delayed.execution.outcomes import Finished, Released, Rescheduled
from django_delayed.models import DelayedJob, JobCursor
from tests.blog.jobs import CALLS, Patient
from tests.blog.models import Post, Token
from tests.playground.models import Effect
from tests.playground.stopped import StopAfter

pytestmark = pytest.mark.django_db

PARTS = ["a", "b", "c", "d"]


class Broken(Exception):
    pass


def upload(job, done, fail_at=None):
    """Upload the parts, from the one at which the last attempt ended."""
    with job.step("upload") as step:
        for number in range(step.cursor or 0, len(PARTS)):
            if PARTS[number] == fail_at:
                raise Broken
            done.append(PARTS[number])
            step.advance(number + 1)


def test_a_step_that_was_done_stays_done_in_later_attempts(settled, long):
    said = []

    def two_steps(job):
        with job.step("render") as step:
            said.append(("render", step.is_done))
        with job.step("upload") as step:
            said.append(("upload", step.is_done))
            if job.executions == 1:
                raise Broken

    row = long(two_steps)
    assert isinstance(settled(), Rescheduled)
    DelayedJob.objects.filter(pk=row.pk).run_now()
    assert isinstance(settled(), Finished)
    assert said == [("render", False), ("upload", False), ("render", True), ("upload", False)]
    assert not JobCursor.objects.exists()


def test_a_step_that_is_done_still_has_its_cursor(settled, long):
    found = []

    def advance(job):
        with job.step("one") as step:
            if not step.is_done:
                step.advance("here")
        found.append((step.is_done, step.cursor))
        if job.executions == 1:
            raise Broken

    row = long(advance)
    settled()
    DelayedJob.objects.filter(pk=row.pk).run_now()
    settled()
    assert found == [(True, "here")] * 2


def test_a_step_is_written_down_as_soon_as_it_is_done(settled, long):
    seen = []

    def one(job):
        with job.step("render"):
            seen.append(JobCursor.objects.count())
        seen.append(JobCursor.objects.get().value)

    long(one)
    settled()
    assert seen == [0, '{"done":true}']


def test_the_next_attempt_begins_at_the_cursor_of_the_step(settled, long):
    done = []
    row = long(lambda job: upload(job, done, "c" if job.executions == 1 else None))
    assert isinstance(settled(), Rescheduled)
    assert done == ["a", "b"]
    DelayedJob.objects.filter(pk=row.pk).run_now()
    settled()
    assert done == PARTS


def test_a_job_that_is_stopped_ends_where_its_step_advances(settled, long):
    done = []
    long(lambda job: upload(job, done))
    # The job asks for the first time at the beginning of the step.
    assert settled(stop=StopAfter(2)) == Released()
    assert done == ["a", "b"]
    assert isinstance(settled(), Finished)
    assert done == PARTS


def test_a_job_that_is_stopped_does_not_begin_its_next_step(settled, long):
    done = []

    def steps(job):
        for name in ("first", "second"):
            with job.step(name) as step:
                if not step.is_done:
                    done.append(name)

    long(steps)
    assert settled(stop=StopAfter(1)) == Released()
    assert done == ["first"]
    settled()
    assert done == ["first", "second"]


@pytest.mark.parametrize(
    "value", [None, 0, "naïve 😀", 1.5, date(2026, 1, 2), ["a", (1, {"b": None})], 10**30]
)
def test_a_cursor_is_read_back_unchanged(settled, long, value):
    found = []

    def advance(job):
        with job.step("one") as step:
            found.append(step.cursor)
            step.advance(value)
            assert step.cursor == value
            if job.executions == 1:
                raise Broken

    row = long(advance)
    settled()
    DelayedJob.objects.filter(pk=row.pk).run_now()
    settled()
    assert found == [None, value]


def test_a_later_change_of_a_list_does_not_change_the_stored_cursor(settled, long):
    found = []

    def advance(job):
        with job.step("one") as step:
            if job.executions > 1:
                found.append(step.cursor)
                return
            seen = [1]
            step.advance(seen)
            seen.append(2)
            raise Broken

    row = long(advance)
    settled()
    DelayedJob.objects.filter(pk=row.pk).run_now()
    settled()
    assert found == [[1]]


@pytest.mark.parametrize(
    ("value", "why"), [(object(), "object"), ("x" * 2**21, "takes 2,097,")], ids=["odd", "huge"]
)
def test_a_cursor_that_cannot_be_stored_is_an_error_at_advance(settled, long, value, why):
    reached = []

    def advance(job):
        with job.step("one") as step:
            step.advance(value)
            reached.append(1)

    long(advance)
    outcome = settled()
    assert outcome.error.error_class == "SerializationError"
    assert outcome.error.message.startswith("The cursor of one")
    assert why in outcome.error.message
    assert reached == []


@pytest.mark.parametrize(
    ("name", "error"), [("", ValueError), ("x" * 256, ValueError), (None, TypeError), (5, TypeError)]
)
def test_an_invalid_name_of_a_step_is_refused(name, error):
    with pytest.raises(error, match="name of a step"):
        Patient().step(name)


def test_names_that_a_database_compares_as_equal_are_different_steps(settled, long):
    names = ["a", "A", "a ", "ä", "x" * 255, "\0", "\ud800", "😀"]
    said = []

    def steps(job):
        for name in names:
            with job.step(name) as step:
                said.append(step.is_done)
        if job.executions == 1:
            raise Broken

    row = long(steps)
    settled()
    assert JobCursor.objects.count() == len(names)
    DelayedJob.objects.filter(pk=row.pk).run_now()
    settled()
    assert said == [False] * len(names) + [True] * len(names)


def test_an_iteration_belongs_to_its_step(settled, long, posts):
    done = []

    def steps(job):
        for word in ("mail", "index"):
            with job.step(word):
                for post in job.iterate(Post.objects.all()):
                    done.append(f"{word} {post.title}")

    long(steps)
    # The job asks before a step and before each item.
    assert settled(stop=StopAfter(6 + 3)) == Released()
    assert len(done) == 7
    names = JobCursor.objects.values_list("name", flat=True)
    assert {*names} == {"mail", "mail: blog.post", "index: blog.post"}
    settled()
    assert done == [f"{word} {number}" for word in ("mail", "index") for number in range(5)]


def test_nested_steps_and_repeated_names_are_refused(settled, long):
    def nested(job):
        with job.step("outer"), job.step("inner"):
            pass

    def twice(job):
        for _ in range(2):
            with job.step("one"):
                pass

    def inside(job):
        for _ in job.iterate(Token.objects.all()):
            with job.step("one"):
                pass

    Token.objects.create()
    for function, why in (
        (nested, "The step 'inner' is inside of the step 'outer'"),
        (twice, "The job has a second step 'one'"),
        (inside, "step 'one' is inside of an iteration"),
    ):
        long(function)
        assert why in settled().error.text


def test_a_step_advances_only_in_its_block(settled, long):
    def after(job):
        step = job.step("one")
        with step:
            pass
        step.advance(1)

    def done(job):
        with job.step("one"):
            pass
        again = job.step("two")
        again.advance(1)

    for function in (after, done):
        long(function)
        assert "advance() is for the block of the step" in settled().error.text


def test_a_step_that_is_done_does_not_advance(settled, long):
    def advance(job):
        with job.step("one") as step:
            if job.executions > 1:
                step.advance(1)
        raise Broken

    row = long(advance)
    settled()
    DelayedJob.objects.filter(pk=row.pk).run_now()
    assert "look at step.is_done first" in settled().error.text


def test_perform_now_starts_with_no_step_done(monkeypatch):
    done = []
    monkeypatch.setitem(CALLS, "patient", lambda job: upload(job, done))
    for _ in range(2):
        Patient.perform_now()
    assert done == PARTS * 2
    assert not JobCursor.objects.exists()


def test_an_atomic_job_is_refused():
    class AtomicSteps(Job):
        atomic = True

        def perform(self):
            self.step("one")

    with pytest.raises(RuntimeError, match=r"To use step\(\), leave atomic out"):
        AtomicSteps.perform_now()


@pytest.mark.django_db(transaction=True)
def test_a_cursor_that_advances_in_a_transaction_is_committed_with_it(settled, long):
    def upload_in_transactions(job):
        with job.step("upload") as step:
            for number in range(step.cursor or 0, len(PARTS)):
                with transaction.atomic():
                    Effect.objects.create(job=number)
                    step.advance(number + 1)
                    if number == 2 and job.executions == 1:
                        raise Broken

    row = long(upload_in_transactions)
    settled()
    assert [*Effect.objects.order_by("pk").values_list("job", flat=True)] == [0, 1]
    assert JobCursor.objects.get().value == '{"at":2}'
    DelayedJob.objects.filter(pk=row.pk).run_now()
    assert isinstance(settled(), Finished)
    assert [*Effect.objects.order_by("pk").values_list("job", flat=True)] == [0, 1, 2, 3]


@pytest.mark.django_db(transaction=True)
def test_a_job_that_is_stopped_begins_no_further_transaction_of_its_step(settled, long):
    def upload_in_transactions(job):
        with job.step("upload") as step:
            for number in range(step.cursor or 0, len(PARTS)):
                with step.transaction():
                    Effect.objects.create(job=number)
                    step.advance(number + 1)

    long(upload_in_transactions)
    # The job asks before the step, and before each transaction.
    assert settled(stop=StopAfter(3)) == Released()
    assert JobCursor.objects.get().value == '{"at":2}'
    assert isinstance(settled(), Finished)
    assert [*Effect.objects.order_by("pk").values_list("job", flat=True)] == [0, 1, 2, 3]


@pytest.mark.django_db(transaction=True)
def test_a_step_that_ends_in_a_transaction_is_done_only_if_it_is_committed(settled, long):
    said = []

    def in_transaction(job):
        with transaction.atomic(), job.step("one") as step:
            said.append(step.is_done)
        if job.executions == 1:
            raise Broken

    def rolled_back(job):
        with transaction.atomic():
            with job.step("one") as step:
                said.append(step.is_done)
            if job.executions == 1:
                raise Broken

    for function, expected in ((in_transaction, [False, True]), (rolled_back, [False, False])):
        said.clear()
        row = long(function)
        settled()
        DelayedJob.objects.filter(pk=row.pk).run_now()
        settled()
        assert said == expected
