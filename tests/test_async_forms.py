"""What async code writes to enqueue a job, and the error when it writes something else."""

import asyncio
import re

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.core.mail import EmailMessage
from django.db import connection, connections, transaction
from django_delayed import (
    SerializationError,
    aenqueue,
    aenqueue_all,
    delay,
    enqueue,
    enqueue_all,
    enqueue_many,
)
from django_delayed.exceptions import DelayedError, EventLoopRunning
from django_delayed.mail import deliver_later
from django_delayed.models import DelayedJob
from django_delayed.worker.configuration import Configuration
from django_delayed.worker.work_off import work_off as work_off_as_worker
from tests.blog import jobs, tasks
from tests.blog.jobs import AtomicCoroutine, Hooked, Plain
from tests.blog.models import Post
from tests.blog.work import work_off

pytestmark = pytest.mark.django_db(transaction=True)


def awaits(function, *arguments, **options):
    """Run the coroutine function in a loop; Django makes its queries in this thread. Returns its result."""

    async def run():
        return await function(*arguments, **options)

    return async_to_sync(run)()


def rolled_back(function, *arguments):
    """Await this in a transaction that is rolled back."""
    with transaction.atomic():
        awaits(function, *arguments)
        transaction.set_rollback(True)


def test_a_job_is_enqueued_by_async_code_with_its_options(diary):
    row = awaits(aenqueue, Plain(1), queue="async", priority=3)
    assert (row.pk, row.queue, row.priority) == DelayedJob.objects.values_list(
        "pk", "queue", "priority"
    ).get()
    awaits(Plain.aperform_later, 2, word="two")
    configured = awaits(Plain.set(queue="slow").set(priority=9).aperform_later, 3)
    assert (configured.queue, configured.priority) == ("slow", 9)
    work_off()
    assert sorted(diary) == [("plain", (1,), {}), ("plain", (2,), {"word": "two"}), ("plain", (3,), {})]


def test_a_call_is_enqueued_by_async_code(post, diary):
    awaits(aenqueue, post.delay(queue="tweets").send_to_twitter.job("hello"))
    awaits(aenqueue, delay(jobs.asynchronous).job(1))
    awaits(aenqueue, post.delay().rename_async.job("new"))
    assert set(DelayedJob.objects.values_list("queue", flat=True)) == {"tweets", "default", "async"}
    work_off()
    assert ("tweet", post.pk, "hello", None) in diary
    assert ("async", (1,)) in diary
    assert ("published", post.pk) in diary


def test_many_jobs_are_enqueued_by_async_code_or_none(diary):
    rows = awaits(aenqueue_all, (Plain(number) for number in range(3)), queue="async")
    assert [row.queue for row in rows] == ["async"] * 3
    with pytest.raises(SerializationError):
        awaits(aenqueue_all, [Plain(4), Plain(object())])
    assert DelayedJob.objects.count() == 3


def test_the_hooks_of_the_enqueue_run_and_may_make_queries(monkeypatch):
    monkeypatch.setattr(Plain, "before_enqueue", lambda self: Post.objects.exists())
    assert awaits(aenqueue_all, [Plain()]) == [None]
    Post.objects.create(title="there")
    assert awaits(Plain.aperform_later) is not None


@pytest.mark.parametrize("arguments", [(5,), ("a", "b")])
def test_wrong_arguments_are_an_error_where_they_are_awaited(arguments):
    with pytest.raises(TypeError):
        awaits(Hooked.aperform_later, *arguments, unknown=1)
    with pytest.raises(TypeError, match="Unknown option 'prio'"):
        awaits(aenqueue, Plain(), prio=1)
    assert not DelayedJob.objects.exists()


@pytest.mark.parametrize("mode", [None, "transaction", "on_commit", "immediate"])
def test_the_setting_enqueue_holds_in_async_code(settings, mode):
    settings.DJANGO_DELAYED = {"ENQUEUE": mode}
    if mode != "immediate" or connection.vendor != "sqlite":
        rolled_back(Plain.aperform_later)
    assert DelayedJob.objects.exists() is (mode == "immediate" and connection.vendor != "sqlite")
    DelayedJob.objects.all().delete()
    if mode == "on_commit":
        with transaction.atomic():
            awaits(aenqueue, Plain())
            assert not DelayedJob.objects.exists()
        assert DelayedJob.objects.count() == 1


def test_a_job_that_an_atomic_async_job_enqueues_is_committed_with_it(monkeypatch, diary):
    async def fail(job):
        await Plain.aperform_later("lost")
        raise ValueError("no luck")

    async def enqueue_one(job):
        await Plain.aperform_later("kept")

    monkeypatch.setitem(jobs.CALLS, "fail", fail)
    monkeypatch.setitem(jobs.CALLS, "enqueue", enqueue_one)
    enqueue_all([AtomicCoroutine("fail"), AtomicCoroutine("enqueue")], max_attempts=1)
    assert work_off_as_worker(Configuration()) is True
    assert [row.name for row in DelayedJob.objects.all()] == ["AtomicCoroutine"]
    assert ("plain", ("kept",), {}) in diary
    assert ("plain", ("lost",), {}) not in diary


def test_a_program_that_is_async_from_the_start_enqueues():
    async def main():
        try:
            # Each of these would open a connection in the thread of the loop.
            await asyncio.gather(*(Plain.aperform_later(number) for number in range(5)))
        finally:
            await sync_to_async(connections.close_all)()

    asyncio.run(main())
    assert DelayedJob.objects.count() == 5


DOORS = {
    "perform_later": lambda post: Plain.perform_later(1),
    "set": lambda post: Plain.set(queue="slow").perform_later(1),
    "enqueue": lambda post: enqueue(Plain()),
    "enqueue with a wait": lambda post: enqueue(Plain(), wait=60),
    "enqueue_all": lambda post: enqueue_all([Plain(1), Plain(2)]),
    "enqueue_many": lambda post: enqueue_many([Plain(1), Plain(2)], chunk=1),
    "unique": lambda post: enqueue(Plain(), unique=True),
    "delay": lambda post: post.delay().send_to_twitter(),
    "delay of a function": lambda post: delay(jobs.resize)(post),
    "delay of an async method": lambda post: post.delay().publish_async("new"),
    "handle_asynchronously": lambda post: post.reindex(),
    "mail": lambda post: deliver_later(EmailMessage("subject", "body", "a@shop.example", ["b@shop.example"])),
    "task": lambda post: tasks.add.enqueue(1, 2),
}


@pytest.mark.parametrize("settled", [{}, {"ENQUEUE": "immediate"}, {"DELAY_JOBS": False}], ids=str)
@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_sync_forms_are_refused_in_async_code_and_the_error_names_the_async_ones(
    settings, post, diary, door, settled
):
    async def run():
        door(post)

    settings.DJANGO_DELAYED = settled
    names = ["aperform_later(…)", "aenqueue(job)", "aenqueue_all(jobs)", "aenqueue(delay(…).method.job(…))"]
    with pytest.raises(EventLoopRunning, match=".*".join(map(re.escape, names))) as caught:
        asyncio.run(run())
    assert isinstance(caught.value, SynchronousOnlyOperation)
    assert isinstance(caught.value, DelayedError)
    assert not DelayedJob.objects.exists()
    assert diary == []


def test_sync_forms_are_not_refused_in_a_sync_function_that_async_code_calls(post, diary):
    for door in DOORS.values():
        awaits(sync_to_async(door), post)
    assert DelayedJob.objects.count() == len(DOORS) + 2


def test_an_inline_job_raises_its_own_synchronous_only_operation(settings, in_job):
    async def count():
        return Post.objects.count()

    settings.DJANGO_DELAYED = {"DELAY_JOBS": False}
    with pytest.raises(SynchronousOnlyOperation) as caught:
        in_job(lambda: asyncio.run(count()))
    assert not isinstance(caught.value, EventLoopRunning)


def test_an_async_job_is_performed_inline_for_async_code(settings, diary):
    settings.DJANGO_DELAYED = {"DELAY_JOBS": False}
    awaits(aenqueue, delay(jobs.asynchronous).job(1))
    assert diary == [("async", (1,))]
    assert not DelayedJob.objects.exists()
