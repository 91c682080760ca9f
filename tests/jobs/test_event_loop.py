"""An async job, in the loop of its attempt."""

import asyncio
import gc
import threading
from contextvars import ContextVar

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection
from django.utils import translation
from django_delayed import Job, delay, enqueue
from django_delayed.exceptions import EventLoopRunning
from django_delayed.execution.outcomes import Failed, Finished, Rescheduled, Snoozed
from django_delayed.jobs import hooks
from django_delayed.models import DelayedJob
from tests.blog import jobs
from tests.blog.jobs import CALLS, Coroutine, ReturningCoroutine
from tests.blog.models import Post
from tests.blog.work import perform_next, work_off

pytestmark = pytest.mark.django_db(transaction=True)

tenant = ContextVar("tenant", default="nobody")


@pytest.fixture
def awaiting(monkeypatch):
    """Enqueue a job that awaits what this function makes of the job."""

    def enqueue(function, job_class=Coroutine, **options):
        monkeypatch.setitem(CALLS, "awaiting", function)
        return job_class.set(**options).perform_later("awaiting")

    return enqueue


@pytest.fixture
def loops(monkeypatch):
    """The loops in which jobs were performed."""
    made = []
    new_event_loop = asyncio.new_event_loop

    def note():
        made.append(new_event_loop())
        return made[-1]

    # These are the places where asgiref and asyncio.run() look for it.
    for module in (asyncio, asyncio.events):
        monkeypatch.setattr(module, "new_event_loop", note)
    return made


def test_an_async_perform_is_awaited_between_its_hooks_in_a_loop_of_its_own(awaiting, diary, loops):
    async def go(job):
        await asyncio.sleep(0)
        diary.append(asyncio.get_running_loop())
        assert job.delayed_job.attempts == 1
        assert job.should_stop() is False

    awaiting(go)
    awaiting(go)
    work_off()
    first, second = loops
    assert first is not second
    assert diary == ["before", first, "after", "before", second, "after"]
    assert first.is_closed()
    assert second.is_closed()
    assert not DelayedJob.objects.exists()


def test_an_async_job_can_be_performed_now(monkeypatch, loops):
    async def go(job):
        await asyncio.sleep(0)
        return 5

    monkeypatch.setitem(CALLS, "now", go)
    assert Coroutine.perform_now("now") == 5
    assert loops[0].is_closed()


def test_its_result_is_kept(awaiting):
    async def go(job):
        return {"sum": 3}

    row = awaiting(go, ReturningCoroutine)
    perform_next()
    row.refresh_from_db()
    assert '{"sum":3}' in row.result.replace(" ", "")


class Around(Job):
    @hooks.around_perform
    def log(self):
        jobs.diary.write("begin")
        try:
            yield
        except LookupError as error:
            jobs.diary.write(str(error))
        jobs.diary.write("end")

    async def perform(self, error=""):
        await asyncio.sleep(0)
        if error:
            raise LookupError(error)
        return "done"


def test_its_error_is_raised_in_the_hooks_around_it(diary):
    assert Around.perform_now() == "done"
    assert Around.perform_now("lost") is None
    assert diary == ["begin", "end", "begin", "lost", "end"]


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_whatever_it_raises_is_its_error_and_the_loop_is_closed(awaiting, loops, error):
    async def go(job):
        await asyncio.sleep(0)
        raise error("no luck")

    awaiting(go)
    _, outcome = perform_next()
    assert isinstance(outcome, Rescheduled)
    assert isinstance(outcome.exception, error)
    assert "in go" in DelayedJob.objects.get().last_error
    assert "asgiref" not in DelayedJob.objects.get().last_error
    assert loops[0].is_closed()


def test_it_may_snooze_and_be_retried(awaiting):
    async def snooze(job):
        job.snooze(60)

    async def again(job):
        job.retry_job(wait=60)

    awaiting(snooze)
    assert isinstance(perform_next()[1], Snoozed)
    DelayedJob.objects.all().delete()
    awaiting(again)
    assert isinstance(perform_next()[1], Rescheduled)


def test_it_sees_the_context_of_its_enqueue_and_leaves_none_to_the_next(awaiting, diary):
    async def go(job):
        diary.append((translation.get_language(), tenant.get()))
        tenant.set("shop")
        translation.activate("ar")
        await asyncio.gather(asyncio.create_task(look()), sync_to_async(sync_look)())

    async def look():
        diary.append((translation.get_language(), tenant.get()))

    def sync_look():
        diary.append((translation.get_language(), tenant.get()))

    with translation.override("de"):
        awaiting(go)
    with translation.override("vi"):
        awaiting(go)
    work_off()
    german, vietnamese = diary[:5], diary[5:]
    assert german == ["before", ("de", "nobody"), ("ar", "shop"), ("ar", "shop"), "after"]
    assert vietnamese[1:4] == [("vi", "nobody"), ("ar", "shop"), ("ar", "shop")]


def test_its_hooks_see_what_its_perform_sets_in_the_context(monkeypatch, diary):
    class Setting(Job):
        async def perform(self):
            tenant.set("shop")

        def after_perform(self):
            diary.append(tenant.get())

    Setting.perform_now()
    assert diary == ["shop"]


def test_tasks_and_generators_that_it_leaves_behind_are_cancelled_and_closed(awaiting, diary):
    async def numbers():
        try:
            for number in range(10):
                yield number
        finally:
            await asyncio.sleep(0)
            diary.append("generator closed")

    async def wait():
        try:
            await asyncio.sleep(600)
        finally:
            diary.append("task cancelled")

    kept = []

    async def go(job):
        kept.append(asyncio.create_task(wait()))
        kept.append(numbers())
        await asyncio.sleep(0)
        await anext(kept[1])

    awaiting(go)
    assert isinstance(perform_next()[1], Finished)
    assert diary == ["before", "task cancelled", "generator closed", "after"]


def test_no_thread_is_left_by_fifty_jobs(awaiting):
    async def go(job):
        await sync_to_async(threading.get_ident)()
        if job.delayed_job.id % 2:
            raise ValueError("no luck")

    async def fetch(job):
        await Post.objects.acount()

    before = set(threading.enumerate())
    for function in (go, fetch):
        for _ in range(25):
            awaiting(function, max_attempts=1)
            perform_next()
            assert set(threading.enumerate()) <= before


def test_what_is_not_async_runs_in_the_thread_of_the_job(awaiting, diary):
    def sync(depth):
        diary.append(threading.current_thread())
        if depth:
            # A receiver of a signal may do this.
            async_to_sync(further)(depth - 1)

    async def further(depth):
        await sync_to_async(sync)(depth)

    async def go(job):
        assert threading.current_thread() is not threading.main_thread()
        await sync_to_async(sync)(2)

    awaiting(go)
    perform_next()
    assert diary == ["before", *[threading.main_thread()] * 3, "after"]


def test_a_job_that_an_async_job_enqueues_is_performed_inline_in_a_loop_of_its_own(
    awaiting, settings, loops, diary
):
    async def inner():
        diary.append("inner")
        await Post.objects.acount()

    async def go(job):
        CALLS["awaiting"] = lambda job: inner()
        await sync_to_async(Coroutine.perform_later)("awaiting")
        diary.append("outer")

    awaiting(go)
    settings.DJANGO_DELAYED = {"DELAY_JOBS": False}
    perform_next()
    assert diary == ["before", "before", "inner", "after", "outer", "after"]
    assert len(set(loops)) == 2
    assert all(loop.is_closed() for loop in loops)


def test_it_is_refused_where_a_loop_runs(monkeypatch, diary):
    monkeypatch.setitem(CALLS, "never", lambda job: jobs.asynchronous())

    async def perform():
        Coroutine.perform_now("never")

    with pytest.raises(EventLoopRunning, match=r"write await sync_to_async\(MyJob\.perform_now\)"):
        asyncio.run(perform())
    assert diary == ["before"]
    # Python would report a coroutine that was not awaited when it is collected.
    gc.collect()

    async def as_told():
        await sync_to_async(Coroutine.perform_now)("never")

    async_to_sync(as_told)()
    assert diary == ["before", "before", ("async", ()), "after"]


@pytest.mark.parametrize("name", ["iterate", "step"])
def test_iterate_and_step_are_refused_in_it_and_work_in_a_function_that_it_calls(awaiting, name, diary):
    Post.objects.bulk_create(Post(title=str(number)) for number in range(3))

    def iterate(job):
        diary.extend(post.title for post in job.iterate(Post.objects.all()))

    def step(job):
        with job.step("first"):
            diary.append("step")

    go_through = {"iterate": iterate, "step": step}[name]

    async def wrong(job):
        go_through(job)

    async def right(job):
        await sync_to_async(go_through)(job)

    awaiting(wrong, max_attempts=1)
    _, outcome = perform_next()
    assert isinstance(outcome, Failed)
    assert str(outcome.exception).startswith(f"Coroutine: {name}() makes queries, which Django refuses")
    awaiting(right)
    assert isinstance(perform_next()[1], Finished)
    assert diary[2:-1] == (["0", "1", "2"] if name == "iterate" else ["step"])


# Calls


def test_async_functions_and_methods_can_be_delayed(post, diary):
    delay(jobs.asynchronous)(1)
    delay(jobs.wrapped_coroutine)(2)
    post.delay().publish_async("new")
    post.rename_async("newer")
    work_off()
    assert diary == [
        ("async", (1,)),
        "around",
        ("async", (2,)),
        ("published", post.pk),
        ("published", post.pk),
    ]
    post.refresh_from_db()
    assert post.title == "newer"
    assert not DelayedJob.objects.exists()


def test_a_method_that_is_handled_asynchronously_can_be_awaited_now(post):
    async def rename():
        return await post.rename_async.now("new")

    assert async_to_sync(rename)() == "new"
    post.refresh_from_db()
    assert post.title == "new"
    assert not DelayedJob.objects.exists()


def test_the_arguments_of_an_async_job_are_checked_like_others(post):
    with pytest.raises(TypeError, match=r"publish_async\(\): missing a required argument: 'title'"):
        post.delay().publish_async()
    with pytest.raises(TypeError, match="missing a required argument: 'name'"):
        enqueue(Coroutine())


def test_a_job_that_is_not_async_runs_in_no_loop(diary, loops):
    jobs.Plain.perform_later(1)
    delay(jobs.decorated)(2)
    work_off()
    assert len(diary) == 3
    assert loops == []
    assert connection.is_usable()
