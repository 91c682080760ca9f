"""self.iterate(queryset, chunk=…): each chunk is a transaction in which the cursor moves too."""

import pytest
from django.db import IntegrityError, connection, transaction
from django_delayed.exceptions import JobTimeout
from django_delayed.execution.outcomes import Finished, Released, Rescheduled
from django_delayed.execution.settle import settle
from django_delayed.models import DelayedJob, JobCursor
from tests.blog.jobs import CALLS, Patient
from tests.blog.models import Post, Token
from tests.blog.work import claim, perform
from tests.playground.models import Effect
from tests.playground.stopped import StopAfter

pytestmark = pytest.mark.django_db(transaction=True)


class Broken(Exception):
    pass


def effects():
    """The key of the post of each effect, in order."""
    return sorted(Effect.objects.values_list("job", flat=True))


def add_effects(job, size=2, fail_at=None):
    """Write one effect for each post, in chunks; raise after the effect of the post `fail_at`."""
    for chunk in job.iterate(Post.objects.all(), chunk=size):
        with chunk:
            for post in chunk:
                Effect.objects.create(job=post.pk)
                if post.title == fail_at:
                    raise Broken


def test_chunks_have_the_given_size_and_come_in_order(settled, long, posts):
    sizes = []

    def go_through(job):
        for chunk in job.iterate(Post.objects.all(), chunk=2):
            with chunk:
                sizes.append([post.title for post in chunk])

    long(go_through)
    assert isinstance(settled(), Finished)
    assert sizes == [["0", "1"], ["2", "3"], ["4"]]
    assert not JobCursor.objects.exists()


def test_the_cursor_is_committed_with_what_the_chunk_writes(settled, long, posts):
    seen = []

    def go_through(job):
        for chunk in job.iterate(Post.objects.all(), chunk=2):
            with chunk:
                Effect.objects.create(job=1)
            seen.append((Effect.objects.count(), JobCursor.objects.get().value))

    long(go_through)
    settled()
    assert seen == [(n, f'{{"key":["{posts[i].pk}"]}}') for n, i in ((1, 1), (2, 3), (3, 4))]


def test_a_chunk_that_raises_is_rolled_back_and_repeated(settled, long, posts):
    row = long(lambda job: add_effects(job, fail_at="3" if job.executions == 1 else None))
    assert isinstance(settled(), Rescheduled)
    assert effects() == [post.pk for post in posts[:2]]
    DelayedJob.objects.filter(pk=row.pk).run_now()
    assert isinstance(settled(), Finished)
    assert effects() == [post.pk for post in posts]


def test_a_job_that_is_stopped_between_two_chunks_goes_on_with_the_next(settled, long, posts):
    long(add_effects)
    assert settled(stop=StopAfter(1)) == Released()
    assert effects() == [post.pk for post in posts[:2]]
    assert isinstance(settled(), Finished)
    assert effects() == [post.pk for post in posts]


def test_a_chunk_that_is_left_with_break_is_committed(settled, long, posts):
    def go_through(job):
        for chunk in job.iterate(Post.objects.all(), chunk=2):
            with chunk:
                Effect.objects.create(job=1)
                break
        assert not connection.in_atomic_block

    long(go_through)
    assert isinstance(settled(), Finished)
    assert effects() == [1]


def test_a_chunk_is_skipped_when_the_job_handles_its_error(settled, long, posts):
    def go_through(job):
        for chunk in job.iterate(Post.objects.all(), chunk=2):
            try:
                with chunk:
                    for post in chunk:
                        Effect.objects.create(job=post.pk)
                        if post.title == "3":
                            raise Broken
            except Broken:
                pass

    long(go_through)
    assert isinstance(settled(), Finished)
    assert effects() == [posts[0].pk, posts[1].pk, posts[4].pk]


def test_a_chunk_without_a_with_block_is_an_error(settled, long, posts):
    def go_through(job):
        for chunk in job.iterate(Post.objects.all(), chunk=2):
            Effect.objects.create(job=chunk[0].pk)

    long(go_through)
    assert "A chunk of blog.post was not used as a block: write `with chunk:`" in settled().error.text
    assert len(effects()) == 1
    assert not JobCursor.objects.exists()


def test_a_worker_that_has_lost_the_job_commits_no_chunk(long, posts):
    def go_through(job):
        for number, chunk in enumerate(job.iterate(Post.objects.all(), chunk=2)):
            if number == 1:
                DelayedJob.objects.update(lock_token=1)
            with chunk:
                for post in chunk:
                    Effect.objects.create(job=post.pk)

    long(go_through)
    row = claim()
    outcome = perform(row)
    assert outcome == Released()
    assert settle([(row, outcome)]) == [row]
    assert effects() == [post.pk for post in posts[:2]]


def test_a_timeout_in_a_chunk_rolls_it_back(settled, long, posts):
    def go_through(job):
        for chunk in job.iterate(Post.objects.all(), chunk=2):
            with chunk:
                Effect.objects.create(job=1)
                raise JobTimeout("too long")

    long(go_through)
    outcome = settled()
    assert isinstance(outcome, Rescheduled)
    assert outcome.error.error_class == "JobTimeout"
    assert effects() == []


def test_a_database_error_in_a_chunk_is_the_error_of_the_job(settled, long, posts):
    def go_through(job):
        for chunk in job.iterate(Post.objects.all(), chunk=2):
            with chunk:
                Token.objects.create(pk=token.pk)

    token = Token.objects.create()
    long(go_through)
    assert isinstance(settled().exception, IntegrityError)


def test_a_chunk_inside_a_transaction_is_refused(settled, long, posts):
    def go_through(job):
        with transaction.atomic():
            add_effects(job)

    long(go_through)
    assert "while a transaction is open on 'default'" in settled().error.text
    assert effects() == []


def test_perform_now_uses_transactions_and_writes_no_cursors(monkeypatch, posts):
    monkeypatch.setitem(CALLS, "patient", lambda job: add_effects(job, fail_at="3"))
    with pytest.raises(Broken):
        Patient.perform_now()
    assert effects() == [post.pk for post in posts[:2]]
    assert not connection.in_atomic_block
    assert not JobCursor.objects.exists()


def test_a_job_that_is_performed_inline_uses_transactions_and_writes_no_cursors(monkeypatch, settings, posts):
    settings.DJANGO_DELAYED = {"DELAY_JOBS": False}
    monkeypatch.setitem(CALLS, "patient", add_effects)
    Patient.perform_later()
    assert effects() == [post.pk for post in posts]
    assert not JobCursor.objects.exists()


def test_a_chunk_adds_three_statements_to_its_transaction(settled, long, posts):
    statements = []

    def count(execute, sql, *more):
        statements.append(sql)
        return execute(sql, *more)

    def go_through(job):
        with connection.execute_wrapper(count):
            for chunk in job.iterate(Post.objects.all(), chunk=10):
                with chunk:
                    pass

    long(go_through)
    settled()
    cursors = [sql for sql in statements if "jobcursor" in sql]
    # The first chunk inserts the cursor, which later chunks only update.
    assert [sql.split()[0] for sql in cursors] == ["UPDATE", "INSERT"]
    [guard] = [sql for sql in statements if "delayedjob" in sql]
    assert guard.startswith("UPDATE")


@pytest.mark.parametrize("size", [0, -1, 10_001, 10**100])
def test_a_size_out_of_range_is_refused(size):
    with pytest.raises(ValueError, match="A chunk must have 1 to 10,000 rows"):
        Patient().iterate(Post.objects.all(), chunk=size)


@pytest.mark.parametrize("size", ["2", 2.0, True, [2]])
def test_a_size_that_is_not_an_integer_is_refused(size):
    with pytest.raises(TypeError, match="The size of a chunk must be a whole number"):
        Patient().iterate(Post.objects.all(), chunk=size)
