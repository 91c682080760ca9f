"""enqueue_many: any number of jobs, a chunk at a time."""

import gc
from contextlib import suppress
from weakref import WeakSet

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import translation
from django_delayed import SerializationError, enqueue_all, enqueue_many
from django_delayed.models import DelayedJob
from django_delayed.reports import reporting
from tests.blog.jobs import Hooked, Plain
from tests.blog.models import Post
from tests.blog.work import load

pytestmark = pytest.mark.django_db(transaction=True)
one_writer = not connection.features.has_select_for_update


def numbers():
    return [args[0] for args in (load(row).args for row in DelayedJob.objects.order_by("pk"))]


def jobs(count, then=None):
    """Yield so many jobs, and then raise this error."""
    for number in range(count):
        yield Plain(number)
    if then:
        raise then


def insertions(captured):
    return [query["sql"] for query in captured if "INSERT INTO" in query["sql"]]


def test_it_writes_a_chunk_at_a_time_and_returns_how_many():
    with CaptureQueriesContext(connection) as captured:
        assert enqueue_many(jobs(25), chunk=10, queue="bulk") == 25
    assert len(insertions(captured)) == 3
    assert numbers() == list(range(25))
    assert set(DelayedJob.objects.values_list("queue", flat=True)) == {"bulk"}


@pytest.mark.parametrize("kind", [list, tuple, iter, lambda given: dict.fromkeys(given).keys()])
@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 20])
def test_it_takes_any_iterable_of_any_length(kind, count):
    assert enqueue_many(kind(list(jobs(count))), chunk=10) == count
    assert numbers() == list(range(count))


def test_a_chunk_is_a_thousand_jobs_unless_another_number_is_given():
    with CaptureQueriesContext(connection) as captured:
        assert enqueue_many(jobs(1001)) == 1001
    assert len(insertions(captured)) == 2


def test_no_jobs_take_no_statement(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert enqueue_many([]) == 0
        assert enqueue_many(Hooked("", True) for _ in range(3)) == 0


def test_a_vetoed_job_is_not_counted():
    assert enqueue_many([Hooked("", number % 2 == 0) for number in range(9)], chunk=4) == 4
    assert DelayedJob.objects.count() == 4


def test_no_more_than_two_chunks_of_jobs_are_in_memory():
    alive, most = WeakSet(), 0

    def watched():
        nonlocal most
        for job in jobs(100):
            alive.add(job)
            most = max(most, len(alive))
            yield job
            del job

    gc.collect()
    assert enqueue_many(watched(), chunk=10) == 100
    assert most <= 2 * 10


# Transactions


def test_an_iterable_that_raises_leaves_whole_chunks():
    with pytest.raises(ZeroDivisionError) as caught:
        enqueue_many(jobs(25, then=ZeroDivisionError()), chunk=10)
    assert numbers() == list(range(20))
    assert caught.value.__notes__ == ["enqueue_many() had enqueued 20 jobs before this error."]


def test_an_iterable_that_raises_between_two_chunks_leaves_all_of_them():
    with pytest.raises(ZeroDivisionError):
        enqueue_many(jobs(20, then=ZeroDivisionError()), chunk=10)
    assert numbers() == list(range(20))


def test_nothing_is_written_of_a_chunk_with_a_job_that_cannot_travel():
    with pytest.raises(SerializationError):
        enqueue_many([*jobs(14), Plain(object()), *jobs(3)], chunk=10)
    assert numbers() == list(range(10))


def test_nothing_is_written_of_a_chunk_that_the_database_refuses(monkeypatch):
    # Each chunk takes several statements.
    monkeypatch.setattr("django_delayed.databases.inserting.MOST_ROWS", 2)
    given = list(jobs(10))
    monkeypatch.setattr(given[8], "max_attempts", 2**80, raising=False)  # no database can store that
    with pytest.raises((DatabaseError, OverflowError)):
        enqueue_many(given, chunk=5)
    assert numbers() == list(range(5))


def test_all_chunks_are_part_of_the_transaction_of_the_caller():
    with transaction.atomic():
        assert enqueue_many(jobs(25), chunk=10) == 25
        assert DelayedJob.objects.count() == 25
        transaction.set_rollback(True)
    assert not DelayedJob.objects.exists()


def test_after_an_error_the_transaction_of_the_caller_goes_on():
    with transaction.atomic():
        with suppress(ZeroDivisionError):
            enqueue_many(jobs(25, then=ZeroDivisionError()), chunk=10)
        Post.objects.create(title="a")
    assert (DelayedJob.objects.count(), Post.objects.count()) == (20, 1)


def test_the_jobs_may_be_made_of_rows_that_are_read_meanwhile():
    Post.objects.bulk_create(Post(title=str(number)) for number in range(25))
    posts = Post.objects.order_by("pk")
    assert enqueue_many((Plain(post.pk) for post in posts.iterator(chunk_size=4)), chunk=10) == 25
    assert numbers() == [post.pk for post in posts]


# The settings


def test_on_commit_all_of_them_are_written_once_the_transaction_has_committed(settings, diary):
    settings.DJANGO_DELAYED = {"ENQUEUE": "on_commit"}
    with transaction.atomic():
        assert enqueue_many((Hooked("", number == 0) for number in range(6)), chunk=2) == 5
        assert not DelayedJob.objects.exists()
        assert "after_enqueue" not in diary
    assert DelayedJob.objects.count() == diary.count("after_enqueue") == 5
    with transaction.atomic():
        enqueue_many(jobs(3), chunk=2)
        transaction.set_rollback(True)
    assert DelayedJob.objects.count() == 5


@pytest.mark.skipif(one_writer, reason="this database has one writer at a time")
def test_immediately_they_outlive_the_rollback_of_their_caller(settings):
    settings.DJANGO_DELAYED = {"ENQUEUE": "immediate"}
    with transaction.atomic():
        assert enqueue_many(jobs(5), chunk=2) == 5
        transaction.set_rollback(True)
    assert numbers() == list(range(5))


def test_inline_they_are_performed_and_counted(settings, diary):
    settings.DJANGO_DELAYED = {"DELAY_JOBS": lambda row: row.about != ""}
    post = Post.objects.create(title="a")
    assert enqueue_many([Plain(1), Plain(post), Plain(2)], chunk=2) == 3
    assert [args for _, args, _ in diary] == [(1,), (2,)]
    assert numbers() == [post]


# What is given


@pytest.mark.parametrize(
    ("chunk", "error"),
    [(0, ValueError), (-1, ValueError), (2**40, ValueError)]
    + [(wrong, TypeError) for wrong in ("a", "10", None, 2.5, True, [10])],
)
def test_a_chunk_is_a_whole_number_of_at_least_one(chunk, error):
    def never():
        raise AssertionError("a job was asked for")
        yield

    with pytest.raises(error, match="chunk must"):
        enqueue_many(never(), chunk=chunk)


@pytest.mark.parametrize("function", [enqueue_all, enqueue_many])
@pytest.mark.parametrize("given", [Plain(1), Plain, None, 7, "jobs", b"jobs", ""], ids=range(7))
def test_anything_but_many_jobs_is_refused_and_the_error_says_how_to_write_it(function, given):
    with pytest.raises(
        TypeError, match=rf"{function.__name__}\(\) takes many jobs, as in {function.__name__}"
    ):
        function(given)


@pytest.mark.parametrize("function", [enqueue_all, enqueue_many])
@pytest.mark.parametrize("given", ["x" * 10**6, ["x" * 10**6]], ids=["a text", "a list of one"])
def test_the_error_about_a_huge_argument_is_short(function, given):
    with pytest.raises(TypeError) as caught:
        function(given)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("thing", [Plain, None, 7, "a job", {}], ids=range(5))
def test_an_object_that_is_not_a_job_is_refused_and_nothing_of_its_chunk_is_written(thing):
    with pytest.raises(TypeError, match="takes an instance of a Job"):
        enqueue_many([*jobs(12), thing], chunk=10)
    assert numbers() == list(range(10))


@pytest.mark.parametrize(
    ("option", "error"), [({"size": 3}, "Unknown option 'size'"), ({"priority": "high"}, "whole number")]
)
def test_a_wrong_option_is_refused_before_a_job_is_taken(option, error):
    with pytest.raises(TypeError, match=error):
        enqueue_many(jobs(1, then=AssertionError()), **option)
    assert not DelayedJob.objects.exists()


# The language


def languages():
    return [payload.partition('"language":"')[2][:2] for payload in _payloads()]


def _payloads():
    return DelayedJob.objects.order_by("pk").values_list("payload", flat=True)


@pytest.mark.parametrize("function", [enqueue_all, enqueue_many])
def test_each_job_has_the_language_in_which_the_iterable_has_made_it(function):
    def translated():
        for language in ("de", "fr", "de"):
            with translation.override(language):
                yield Plain(language)

    function(translated())
    assert languages() == ["de", "fr", "de"]


@pytest.mark.parametrize("function", [enqueue_all, enqueue_many])
def test_a_job_of_a_list_has_the_language_that_its_hook_has_activated(function, monkeypatch):
    monkeypatch.setattr(Hooked, "before_enqueue", lambda job: translation.activate("de"))
    with translation.override("fr"):
        function([Plain(1), Hooked(2)])
    assert languages() == ["fr", "de"]


def test_nothing_is_enqueued_while_a_failure_of_a_report_is_announced(caplog):
    with reporting():
        assert enqueue_many(jobs(3), chunk=2) == 0
    assert not DelayedJob.objects.exists()
