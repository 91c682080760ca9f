"""self.iterate(queryset), item by item: an attempt goes on where the one before has ended."""

import time

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django_delayed import Job
from django_delayed.execution.outcomes import Cancelled, Failed, Finished, Released, Rescheduled
from django_delayed.execution.settle import settle
from django_delayed.execution.stopping import Stop
from django_delayed.features.iteration import cursors
from django_delayed.features.iteration.models import JobCursorQuerySet
from django_delayed.models import DelayedJob, FailedAttempt, JobCursor
from django_delayed.states import CURSORS, DelayedJobQuerySet
from tests.blog.jobs import CALLS, Patient
from tests.blog.models import Passage, Post, Remark, Silent, Ticket, Token, Word
from tests.blog.work import claim, perform
from tests.playground.stopped import StopAfter

pytestmark = pytest.mark.django_db


def titles_into(done, queryset=None):
    def go_through(job):
        for post in job.iterate(Post.objects.all() if queryset is None else queryset):
            done.append(post.title)

    return go_through


def test_each_row_comes_once_in_the_order_of_the_key(settled, long, posts):
    done = []
    long(titles_into(done, Post.objects.filter(title__gt="0")))
    assert isinstance(settled(), Finished)
    assert done == ["1", "2", "3", "4"]


def test_rows_that_are_read_by_several_queries_come_once(settled, long):
    for number in range(123):
        Post.objects.create(title=str(number))
    done = []
    long(titles_into(done))
    with CaptureQueriesContext(connection) as queries:
        settled()
    assert done == [str(number) for number in range(123)]
    # They read 10, 20, 40 and 53 rows.
    assert len([one for one in queries if "blog_post" in one["sql"]]) == 4


def test_a_job_that_is_stopped_goes_on_at_the_next_item_and_no_attempt_is_counted(
    settled, long, posts, caplog
):
    caplog.set_level("INFO")
    done = []
    row = long(titles_into(done))
    assert settled(stop=StopAfter(2)) == Released()
    assert done == ["0", "1"]
    row.refresh_from_db()
    assert (row.state, row.attempts, row.extras) == ("enqueued", 0, CURSORS)
    [cursor] = JobCursor.objects.all()
    assert (cursor.delayed_job_id, cursor.name) == (row.pk, "blog.post")
    assert str(cursor) == f'blog.post: {{"key":["{posts[1].pk}"]}}'
    assert f"{row} is interrupted, as its worker is being stopped; it will go on from here" in caplog.messages
    assert settled(stop=StopAfter(2)) == Released()
    assert isinstance(settled(), Finished)
    assert done == ["0", "1", "2", "3", "4"]
    assert not DelayedJob.objects.exists()
    assert not JobCursor.objects.exists()
    assert not FailedAttempt.objects.exists()


def test_a_job_that_is_stopped_before_its_first_item_has_no_cursor(settled, long, posts):
    done = []
    row = long(titles_into(done))
    assert settled(stop=StopAfter(0)) == Released()
    row.refresh_from_db()
    assert (done, row.extras) == ([], 0)
    assert not JobCursor.objects.exists()


def test_a_stop_after_the_last_item_lets_the_job_end(settled, long, posts):
    done = []
    long(titles_into(done))
    assert isinstance(settled(stop=StopAfter(5)), Finished)
    assert len(done) == 5


def test_a_job_that_fails_in_an_item_goes_on_at_that_item(settled, long, posts):
    done = []

    def go_through(job):
        for post in job.iterate(Post.objects.all()):
            if post.title == "2" and job.executions == 1:
                raise ConnectionError
            done.append(post.title)

    row = long(go_through)
    assert isinstance(settled(), Rescheduled)
    assert done == ["0", "1"]
    DelayedJob.objects.filter(pk=row.pk).run_now()
    settled()
    assert done == ["0", "1", "2", "3", "4"]


def test_a_failed_job_goes_on_where_it_was_when_an_operator_retries_it(settled, long, posts):
    done, broken = [], [True]

    def go_through(job):
        for post in job.iterate(Post.objects.all()):
            if post.title == "3" and broken:
                raise ConnectionError
            done.append(post.title)

    row = long(go_through)
    DelayedJob.objects.update(max_attempts=1)
    assert isinstance(settled(), Failed)
    broken.clear()
    DelayedJob.objects.filter(pk=row.pk).retry()
    settled()
    assert done == ["0", "1", "2", "3", "4"]
    assert not JobCursor.objects.exists()


def test_rows_may_be_deleted_and_added_between_two_attempts(settled, long, posts):
    done = []
    long(titles_into(done))
    settled(stop=StopAfter(2))
    posts[1].delete()
    posts[2].delete()
    Post.objects.create(title="new")
    settled()
    assert done == ["0", "1", "3", "4", "new"]


def test_a_job_may_delete_the_rows_that_it_iterates_over(settled, long, posts):
    def go_through(job):
        for post in job.iterate(Post.objects.all()):
            post.delete()

    long(go_through)
    settled(stop=StopAfter(2))
    assert Post.objects.count() == 3
    assert isinstance(settled(), Finished)
    assert not Post.objects.exists()


def test_a_short_iteration_takes_only_the_queries_that_read_its_rows(settled, long, posts):
    long(lambda job: list(Post.objects.all()))
    with CaptureQueriesContext(connection) as plain:
        settled()
    long(titles_into([]))
    with CaptureQueriesContext(connection) as iterating:
        settled()
    assert len(iterating) == len(plain)


def test_the_cursor_is_written_at_most_once_a_second(settled, long, posts, monkeypatch):
    now = [time.monotonic()]
    monkeypatch.setattr(cursors.time, "monotonic", lambda: now[0])
    written = []

    def go_through(job):
        for _ in job.iterate(Post.objects.all()):
            written.append(JobCursor.objects.values_list("value", flat=True).first())
            now[0] += 0.6

    long(go_through)
    settled()
    second, fourth = (f'{{"key":["{post.pk}"]}}' for post in (posts[1], posts[3]))
    assert written == [None, None, second, second, fourth]


def test_a_long_iteration_writes_its_last_item_too(settled, long, posts, each_written, monkeypatch):
    found = []

    def go_through(job):
        for post in job.iterate(Post.objects.all()):
            if post == posts[1]:
                monkeypatch.setattr(cursors, "WRITE_EVERY", 3600)
        found.extend(JobCursor.objects.values_list("value", flat=True))

    long(go_through)
    settled()
    assert found == [f'{{"key":["{posts[4].pk}"]}}']


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (Token, lambda number: {}),
        (Word, lambda number: {"text": f"wörd {number}"}),
        (Ticket, lambda number: {}),
        (Passage, lambda number: {"chapter": number // 2, "verse": number % 2}),
    ],
    ids=["UUID", "text", "custom", "composite"],
)
def test_a_primary_key_may_have_any_type(settled, long, each_written, model, values):
    for number in range(4):
        model.objects.create(**values(number))
    done = []

    def go_through(job):
        for instance in job.iterate(model.objects.all()):
            done.append(instance.pk)

    long(go_through)
    while not isinstance(settled(stop=StopAfter(1)), Finished):
        assert len(done) < 5
    assert done == [one.pk for one in model.objects.order_by("pk")]


def test_a_key_that_cannot_be_written_is_an_error_at_the_first_item(settled, long):
    Silent.objects.create()
    done = []

    def go_through(job):
        for one in job.iterate(Silent.objects.all()):
            done.append(one)

    long(go_through)
    outcome = settled()
    assert "cannot rebuild it" in outcome.error.message
    assert done == []


def test_a_row_that_a_join_repeats_comes_once(settled, long, posts):
    for post in posts[:2]:
        for _ in range(15):
            Remark.objects.create(post=post)
    done = []
    long(titles_into(done, Post.objects.filter(remark__isnull=False)))
    settled()
    assert done == ["0", "1"]


def test_a_queryset_may_use_distinct_only_and_prefetch_related(settled, long, posts):
    done = []
    queryset = Post.objects.distinct().only("title").prefetch_related("remark_set").order_by("pk")
    long(titles_into(done, queryset))
    settled()
    assert len(done) == 5


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("all()[:3]", "leave the slice out"),
        ("order_by('title')", r"leave order_by\(\)"),
        ("order_by('-pk')", r"leave order_by\(\)"),
        ("order_by('pk').reverse()", r"leave order_by\(\)"),
        ("order_by('?')", r"leave order_by\(\)"),
        ("values('title')", r"leave values\(\)"),
        ("values_list('pk', flat=True)", r"leave values\(\)"),
        ("union(Post.objects.all())", r"union\(\)"),
        ("distinct('title')", r"distinct\(\)"),
        ("select_for_update()", r"select_for_update\(\)"),
    ],
)
def test_a_queryset_that_cannot_be_read_by_its_key_is_refused(written, why):
    with pytest.raises(ValueError, match=why):
        Patient().iterate(eval(f"Post.objects.{written}"))


@pytest.mark.parametrize(
    "given",
    [None, [1], "posts", Post, Post.objects, Post.objects.raw("SELECT 1"), 10**100],
    ids=["None", "list", "text", "model", "manager", "raw", "number"],
)
def test_anything_but_a_queryset_is_refused(given):
    with pytest.raises(
        TypeError, match=r"iterate\(\) takes a queryset, such as Product.objects.all\(\), not "
    ):
        Patient().iterate(given)


def test_perform_now_iterates_over_all_rows_and_writes_nothing(monkeypatch, posts):
    done = []
    monkeypatch.setitem(CALLS, "patient", titles_into(done))
    with CaptureQueriesContext(connection) as queries:
        Patient.perform_now()
    assert done == ["0", "1", "2", "3", "4"]
    assert len(queries) == 1


def test_a_job_that_is_performed_inline_iterates_over_all_rows(monkeypatch, posts, settings):
    settings.DJANGO_DELAYED = {"DELAY_JOBS": False}
    done = []
    monkeypatch.setitem(CALLS, "patient", titles_into(done))
    Patient.perform_later()
    assert done == ["0", "1", "2", "3", "4"]
    assert not JobCursor.objects.exists()


def test_an_atomic_job_is_refused(posts):
    class Atomic(Job):
        atomic = True

        def perform(self):
            for _ in self.iterate(Post.objects.all()):
                pass

    with pytest.raises(RuntimeError, match=r"has atomic = True: .* iterate\(…, chunk=…\)"):
        Atomic.perform_now()


def test_a_second_iteration_over_a_model_is_refused(settled, long, posts):
    done = []

    def twice(job):
        titles_into(done)(job)
        titles_into(done)(job)

    long(twice)
    outcome = settled()
    assert "The job has a second iteration over blog.post" in outcome.error.text
    assert len(done) == 5


def test_an_iteration_inside_another_is_refused(settled, long, posts):
    def nested(job):
        for _ in job.iterate(Post.objects.all()):
            for _ in job.iterate(Remark.objects.all()):
                pass

    long(nested)
    assert "iteration over blog.remark is inside of an iteration" in settled().error.text


def test_another_iteration_may_follow_one_that_was_left_with_break(settled, long, posts):
    done = []

    def two(job):
        for post in job.iterate(Post.objects.all()):
            done.append(post.title)
            if post.title == "1":
                break
        for token in job.iterate(Token.objects.all()):
            done.append(token)

    token = Token.objects.create()
    long(two)
    assert isinstance(settled(), Finished)
    assert done == ["0", "1", token]


def test_a_job_that_swallows_its_interruption_is_still_interrupted(settled, long, posts):
    done = []

    def swallow(job):
        try:
            titles_into(done)(job)
        except BaseException as error:
            done.append(type(error).__name__)

    long(swallow)
    assert settled(stop=StopAfter(1)) == Released()
    assert isinstance(settled(), Finished)
    assert done == ["0", "JobInterrupted", "1", "2", "3", "4"]


def test_an_operator_ends_an_iteration_and_a_retry_goes_on_where_it_was(settled, long, posts):
    done, asked = [], iter([False, False, True, True, True])
    row = long(titles_into(done))
    assert isinstance(settled(stop=Stop(is_cancelled=lambda: next(asked))), Cancelled)
    assert done == ["0", "1"]
    row.refresh_from_db()
    assert (row.state, row.error_class) == ("failed", "JobCancelled")
    DelayedJob.objects.filter(pk=row.pk).retry()
    settled()
    assert done == ["0", "1", "2", "3", "4"]


def test_a_job_that_snoozes_in_an_item_goes_on_at_that_item(settled, long, posts):
    done = []

    def go_through(job):
        for post in job.iterate(Post.objects.all()):
            if post.title == "2" and len(done) == 2:
                done.append("snoozed")
                job.snooze(0)
            done.append(post.title)

    long(go_through)
    settled()
    settled()
    assert done == ["0", "1", "snoozed", "2", "3", "4"]


@pytest.mark.parametrize("remove", [DelayedJobQuerySet.discard, DelayedJobQuerySet.delete])
def test_the_cursors_of_a_removed_row_are_removed(settled, long, posts, remove):
    row = long(titles_into([]))
    settled(stop=StopAfter(1))
    assert JobCursor.objects.filter(delayed_job=row).exists()
    remove(DelayedJob.objects.filter(pk=row.pk))
    assert not JobCursor.objects.exists()


def test_the_cursors_of_a_finished_row_that_is_kept_are_removed(settled, long, posts, settings):
    settings.DJANGO_DELAYED = {"KEEP_FINISHED_FOR": 60}
    row = long(titles_into([]))
    settled(stop=StopAfter(1))
    settled()
    row.refresh_from_db()
    assert row.state == "finished"
    assert not JobCursor.objects.exists()


def test_the_cursors_of_a_failed_job_that_is_not_kept_are_removed(settled, long, posts, settings):
    settings.DJANGO_DELAYED = {"DESTROY_FAILED_JOBS": True, "MAX_ATTEMPTS": 1}

    def fail_after_two(job):
        for post in job.iterate(Post.objects.all()):
            if post.title == "2":
                raise ConnectionError

    long(fail_after_two)
    DelayedJob.objects.update(max_attempts=1)
    assert isinstance(settled(), Failed)
    assert not DelayedJob.objects.exists()
    assert not JobCursor.objects.exists()


def test_a_worker_that_has_lost_the_job_moves_no_cursor(long, posts, each_written, caplog):
    done = []

    def go_through(job):
        for post in job.iterate(Post.objects.all()):
            done.append(post.title)
            DelayedJob.objects.update(lock_token=1)

    long(go_through)
    row = claim()
    outcome = perform(row)
    assert outcome == Released()
    assert settle([(row, outcome)]) == [row]
    assert done == ["0"]
    assert not JobCursor.objects.exists()


def test_a_job_with_cursors_is_settled_by_itself(settled, long, posts):
    """The statement that removes many rows would leave its cursors behind."""
    row = long(titles_into([]))
    settled(stop=StopAfter(1))
    [claimed] = DelayedJob.objects.claim("1" * 32)
    assert DelayedJob.objects.finish_together("1" * 32, claimed.lock_token, [row.pk]) == set()
    assert DelayedJob.objects.finish(claimed)
    assert not JobCursor.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("where", ["around", "left open"])
def test_a_transaction_that_is_open_between_two_items_is_refused(settled, long, where):
    Post.objects.create(title="0")
    done = []

    def around(job):
        with transaction.atomic():
            titles_into(done)(job)

    def left_open(job):
        for post in job.iterate(Post.objects.all()):
            block = transaction.atomic()
            block.__enter__()
            done.append(post.title)

    row = long(around if where == "around" else left_open)
    outcome = settled()
    assert "iterate() goes on while a transaction is open on 'default'" in outcome.error.text
    assert done == ([] if where == "around" else ["0"])
    assert not JobCursor.objects.filter(delayed_job=row).exists()


@pytest.mark.django_db(transaction=True)
def test_a_cursor_that_cannot_be_written_is_written_after_the_next_item(
    settled, long, each_written, monkeypatch, caplog
):
    posts = [Post.objects.create(title=str(number)) for number in range(5)]
    done, put = [], JobCursorQuerySet.put

    def fails_once(self, row, moved):
        if len(done) == 2:
            raise DatabaseError("it is away")
        put(self, row, moved)

    monkeypatch.setattr(JobCursorQuerySet, "put", fails_once)
    long(titles_into(done))
    assert settled(stop=StopAfter(3)) == Released()
    said = [line for line in caplog.messages if "its cursor cannot be written now: it is away" in line]
    assert len(said) == 1
    [cursor] = JobCursor.objects.all()
    assert cursor.value == f'{{"key":["{posts[2].pk}"]}}'
    settled()
    assert done == ["0", "1", "2", "3", "4"]


def test_an_iteration_in_a_transaction_is_refused_in_the_transaction_of_a_test_too(settled, long, posts):
    def around(job):
        with transaction.atomic():
            list(job.iterate(Post.objects.all()))

    long(around)
    assert "iterate() goes on while a transaction is open on 'default'" in settled().error.text
