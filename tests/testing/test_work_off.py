from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core import mail
from django.db import connection, transaction
from django.utils import timezone
from django_delayed.mail import send_mail
from django_delayed.models import DelayedJob
from django_delayed.signals import job_errored, job_failed, job_finished, job_started
from django_delayed.testing import assert_enqueued, enqueued, work_off
from tests.blog import jobs, tasks
from tests.blog.jobs import Discarded, Impatient, Plain, Ruled, Sleepy
from tests.blog.models import Post

pytestmark = pytest.mark.django_db
one_transaction_or_none = pytest.mark.parametrize(
    "in_transaction",
    [
        pytest.param(True, marks=pytest.mark.django_db),
        pytest.param(False, marks=pytest.mark.django_db(transaction=True)),
    ],
    ids=["in a transaction", "without one"],
)


@one_transaction_or_none
def test_due_jobs_are_performed_and_the_jobs_that_they_enqueue_too(diary, in_job, in_transaction):
    assert connection.in_atomic_block is in_transaction
    in_job(lambda: Plain.perform_later(2) and None)
    Plain.set(wait=60).perform_later("later")
    assert work_off() == 2
    assert diary == [("plain", (2,), {})]
    assert DelayedJob.objects.get().state == "scheduled"


def test_mail_arrives_in_the_outbox():
    send_mail("Hello", "…", "a@example.com", ["b@example.com"])
    work_off()
    assert [message.subject for message in mail.outbox] == ["Hello"]


def test_the_result_of_a_task_can_be_read():
    result = tasks.add.enqueue(1, second=2)
    assert_enqueued(tasks.add, args=(1,), kwargs={"second": 2})
    work_off()
    result.refresh()
    assert result.return_value == 3


@one_transaction_or_none
def test_virtual_time_passes_for_a_duration(diary, in_transaction):
    for days in (3, 1, 2, 4):
        Plain.set(wait=timedelta(days=days)).perform_later(days)
    assert work_off(until=timedelta(days=3)) == 3
    assert [args for _, args, _ in diary] == [(1,), (2,), (3,)]
    assert work_off() == 0
    assert work_off(until=4 * 86400) == 1


def test_virtual_time_passes_until_a_moment(diary):
    moment = timezone.now() + timedelta(days=7)
    Plain.set(run_at=moment).perform_later(1)
    Plain.set(run_at=moment + timedelta(minutes=1)).perform_later(2)
    assert work_off(until=moment) == 1
    assert diary == [("plain", (1,), {})]


def test_further_attempts_are_made_when_they_are_due(in_job, heard):
    def fail():
        raise ConnectionError("no route")

    in_job(fail)
    assert work_off(until=6, raise_errors=False) == 2
    assert DelayedJob.objects.get().attempts == 2
    # The waits after the first attempts are 5 + 1⁴, 5 + 2⁴ and 5 + 3⁴ seconds.
    assert work_off(until=6 + 21, raise_errors=False) == 1
    assert work_off(until=6 + 21 + 85, raise_errors=False) == 0
    assert work_off(until=6 + 21 + 86, raise_errors=False) == 1
    assert work_off(until=timedelta(days=21), raise_errors=False) == 21
    row = DelayedJob.objects.get()
    assert (row.state, row.attempts) == ("failed", 25)
    assert row.failed_at - row.created_at == pytest.approx(
        timedelta(seconds=sum(5 + n**4 for n in range(1, 25))), abs=timedelta(minutes=1)
    )


def test_retry_rules_for_single_errors_apply(monkeypatch, diary):
    monkeypatch.setitem(jobs.CALLS, "ruled", ConnectionError)
    Ruled.perform_later()
    assert work_off(until=59, raise_errors=False) == 1
    assert work_off(until=60, raise_errors=False) == 1
    assert diary == [("on_failure", "ConnectionError")]


def test_a_job_that_snoozes_comes_again_later():
    Sleepy.perform_later()
    assert work_off() == 1
    assert work_off(until=timedelta(hours=3)) == 3
    assert [job.delayed_job.attempts for job in enqueued()] == [0]


def test_the_wait_of_a_job_counts_from_the_virtual_time_of_its_enqueue(in_job, diary):
    in_job(lambda: Plain.set(wait=timedelta(days=1)).perform_later(1) and None, wait=timedelta(days=1))
    assert work_off(until=timedelta(days=1.9)) == 1
    assert_enqueued(Plain, wait=timedelta(days=1))
    assert work_off(until=timedelta(days=2)) == 1


def test_the_clock_is_restored_afterwards(in_job):
    def fail():
        raise ValueError

    in_job(fail, wait=timedelta(days=1))
    with pytest.raises(ValueError):  # noqa: PT011
        work_off(until=timedelta(days=1))
    row = Plain.perform_later()
    assert abs(row.created_at - timezone.now()) < timedelta(hours=1)


def test_the_error_of_a_job_is_raised_once_it_is_recorded(in_job, heard):
    def fail():
        raise ConnectionError("no route")

    in_job(fail)
    Plain.perform_later()
    with pytest.raises(ConnectionError, match="no route") as caught:
        work_off()
    assert caught.traceback[-1].name == "fail"
    assert [signal for signal, *_ in heard] == [job_started, job_errored]
    failing, other = DelayedJob.objects.order_by("pk")
    assert (failing.state, failing.attempts, other.state) == ("retrying", 1, "enqueued")
    assert work_off() == 1


def test_a_job_that_is_discarded_raises_nothing(diary):
    Discarded.perform_later("lookup")
    assert work_off() == 1
    assert diary == [("after_discard", KeyError)]


def test_the_hooks_of_a_failure_run(diary, heard):
    Impatient.perform_later(1)
    assert work_off(until=90, raise_errors=False) == 2
    assert [signal for signal, *_ in heard] == [
        job_started,
        job_errored,
        job_started,
        job_errored,
        job_failed,
    ]


def test_an_error_of_the_database_does_not_end_the_transaction_of_the_test(in_job):
    def err():
        with connection.cursor() as cursor:
            cursor.execute("SELECT no_column FROM no_table")

    in_job(err)
    work_off(raise_errors=False)
    assert Post.objects.count() == 0
    assert DelayedJob.objects.get().state == "retrying"


def test_the_callbacks_of_a_job_run_as_if_it_had_committed(in_job, diary, heard):
    seen = []

    def write():
        transaction.on_commit(
            lambda: seen.append("first") or transaction.on_commit(lambda: seen.append("second"))
        )

    in_job(write)
    job_finished.connect(lambda **_: seen.append("finished"), weak=False, dispatch_uid="callbacks")
    work_off()
    job_finished.disconnect(dispatch_uid="callbacks")
    assert seen == ["first", "second", "finished"]


@one_transaction_or_none
def test_the_error_of_a_callback_is_an_error_of_its_job(in_job, diary, in_transaction):
    def write():
        with transaction.atomic():
            transaction.on_commit(lambda: 1 / 0)

    in_job(write)
    Plain.perform_later(1)
    assert work_off(raise_errors=False) == 2
    row = DelayedJob.objects.get()
    assert (row.state, row.error_class) == ("retrying", "ZeroDivisionError")
    assert diary == [("plain", (1,), {})]
    assert connection.run_on_commit == []


def test_callbacks_of_the_test_itself_are_left_to_it(in_job, django_capture_on_commit_callbacks):
    seen = []
    with django_capture_on_commit_callbacks() as callbacks:
        transaction.on_commit(lambda: seen.append("the test's"))
        in_job(lambda: transaction.on_commit(lambda: seen.append("the job's")))
        work_off()
    assert seen == ["the job's"]
    assert len(callbacks) == 1


def test_a_job_that_waits_for_a_commit_is_performed_once_the_callbacks_were_run(
    settings, diary, django_capture_on_commit_callbacks
):
    settings.DJANGO_DELAYED = {"ENQUEUE": "on_commit"}
    with django_capture_on_commit_callbacks(execute=True):
        Plain.perform_later(1)
        assert work_off() == 0
    assert work_off() == 1
    assert diary == [("plain", (1,), {})]


def test_a_job_that_another_enqueues_on_commit_is_performed_too(
    settings, diary, in_job, django_capture_on_commit_callbacks
):
    settings.DJANGO_DELAYED = {"ENQUEUE": "on_commit"}
    with django_capture_on_commit_callbacks(execute=True):
        in_job(lambda: Plain.perform_later(1) and None)
    assert work_off() == 2
    assert diary == [("plain", (1,), {})]


def test_jobs_of_many_lanes_are_performed_in_order(diary):
    for priority in range(120):
        Plain.set(priority=priority, wait=priority).perform_later(priority)
    assert work_off(until=120) == 120
    assert [args for _, args, _ in diary] == [(number,) for number in range(120)]


def test_a_job_sees_the_claim_of_a_worker(monkeypatch, diary):
    seen = []
    monkeypatch.setattr(Plain, "perform", lambda self: seen.append(self.delayed_job))
    row = Plain.perform_later()
    work_off()
    [view] = seen
    assert (view.id, view.attempts, len(view.locked_by)) == (row.pk, 1, 32)


@pytest.mark.parametrize(
    ("until", "error", "sentence"),
    [
        ("tomorrow", TypeError, "until must be a timedelta or a number of seconds"),
        (-1, ValueError, "until must not be negative"),
        (timezone.now().date(), TypeError, "must be a datetime"),
        (timezone.now().replace(tzinfo=None), ValueError, "must be aware"),
    ],
)
def test_an_invalid_until_is_refused(until, error, sentence):
    with pytest.raises(error, match=sentence):
        work_off(until=until)


@pytest.mark.django_db(transaction=True)
def test_a_row_that_another_transaction_has_locked_is_skipped(lock):
    lock(Plain.perform_later())
    assert work_off() == 0
    lock.release()
    assert work_off() == 1


# Async


@one_transaction_or_none
@pytest.mark.parametrize("perform", [work_off, async_to_sync(sync_to_async(work_off))], ids=["sync", "async"])
def test_async_jobs_are_performed_in_the_transaction_of_the_test(post, in_job, in_transaction, perform):
    assert connection.in_atomic_block is in_transaction

    async def copy():
        found = await Post.objects.aget()
        await Post.objects.acreate(title=f"copy of {found.title}")

    async def fail():
        await Post.objects.aget(title="gone")

    in_job(copy)
    post.delay().publish_async("new")
    assert perform() == 2
    assert {post.title for post in Post.objects.all()} == {"copy of a", "new"}
    in_job(fail)
    with pytest.raises(Post.DoesNotExist):
        perform()
    assert Post.objects.count() == 2
