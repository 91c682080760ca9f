from datetime import timedelta

import pytest
from django_delayed.models import DelayedJob
from django_delayed.signals import job_errored, job_failed, job_finished, job_started
from django_delayed.testing import crash, deliver_twice, enqueued, work_off
from tests.blog.jobs import CALLS, Atomic, CleanUpJob, Hooked, HookedOnce, Plain
from tests.blog.models import Post

pytestmark = pytest.mark.django_db


def test_a_crash_is_recorded_before_the_job_has_done_anything(diary, heard):
    Plain.perform_later(1)
    crash(Plain)
    row = DelayedJob.objects.get()
    assert (row.state, row.attempts, row.crashes, row.error_class) == ("retrying", 1, 1, "WorkerCrashed")
    assert row.last_error.startswith("WorkerCrashed: The job did not end: the test let its worker die.")
    assert [(signal, what.get("job")) for signal, *_, what in heard] == [(job_errored, None)]
    assert diary == []
    assert work_off() == 1
    assert diary == [("plain", (1,), {})]


def test_the_third_crash_is_the_last(heard):
    Plain.perform_later(1)
    for _ in range(3):
        crash(Plain)
    assert DelayedJob.objects.get().state == "failed"
    assert [signal for signal, *_ in heard] == [job_errored] * 3 + [job_failed]
    with pytest.raises(AssertionError, match="Plain was not enqueued"):
        crash(Plain)


def test_a_scheduled_job_crashes_when_it_is_due():
    Plain.set(wait=timedelta(days=7)).perform_later(1)
    crash(Plain)
    assert work_off(until=timedelta(days=6)) == 0
    assert work_off(until=timedelta(days=7, minutes=1)) == 1


def test_the_first_matching_job_is_taken_and_the_others_are_left(diary):
    Plain.set(wait=60).perform_later("last")
    for number in range(3):
        Plain.set(priority=-number).perform_later(number)
    crash(Plain, args=(1,))
    states = {tuple(job.args): job.delayed_job.attempts for job in enqueued()}
    assert states == {("last",): 0, (0,): 0, (1,): 1, (2,): 0}
    assert not DelayedJob.objects.running().exists()
    crash(Plain)
    assert [job.delayed_job.attempts for job in enqueued(args=(0,))] == [1]


def test_a_job_is_performed_twice_when_it_is_delivered_twice(diary, heard):
    post = Post.objects.create(title="a")
    post.delay().send_to_twitter("now")
    Plain.perform_later()
    deliver_twice(post.send_to_twitter)
    assert diary == [("tweet", post.pk, "now", None)] * 2
    assert [signal for signal, *_ in heard] == [job_started, job_errored, job_started, job_finished]
    assert [job.name for job in enqueued()] == ["Plain"]


def test_the_error_of_either_delivery_is_raised(in_job, diary):
    Hooked.perform_later("perform")
    with pytest.raises(ArithmeticError, match="in perform"):
        deliver_twice(Hooked)
    row = DelayedJob.objects.get()
    assert (row.state, row.attempts, row.error_class) == ("retrying", 1, "ArithmeticError")
    seen = []

    def once():
        seen.append(1)
        if len(seen) > 1:
            raise LookupError("done before")

    in_job(once)
    with pytest.raises(LookupError, match="done before"):
        deliver_twice(args=("0",))
    assert DelayedJob.objects.latest("pk").attempts == 2


def test_an_atomic_job_is_not_delivered_again_when_its_row_is_gone(monkeypatch, heard):
    monkeypatch.setitem(CALLS, "post", lambda job: Post.objects.create(title="once"))
    Atomic.perform_later("post")
    deliver_twice(Atomic)
    assert Post.objects.filter(title="once").count() == 1
    assert [signal for signal, *_ in heard] == [job_started, job_finished]
    assert not DelayedJob.objects.exists()


def test_a_job_with_one_attempt_is_not_delivered_twice(diary):
    HookedOnce.perform_later()
    with pytest.raises(AssertionError, match="had no attempt left for a second delivery"):
        deliver_twice(HookedOnce)
    assert DelayedJob.objects.get().state == "failed"


@pytest.mark.parametrize("fault", [crash, deliver_twice])
def test_a_job_that_was_not_enqueued_is_an_error(fault):
    Plain.perform_later(1)
    with pytest.raises(AssertionError, match=r"CleanUpJob with args=\(1,\) was not enqueued"):
        fault(CleanUpJob, args=(1,))
    with pytest.raises(TypeError, match="Unknown criterion"):
        fault(CleanUpJob, quene="a")


@pytest.mark.django_db(transaction=True)
def test_a_job_that_another_transaction_has_locked_cannot_crash(lock):
    lock(Plain.perform_later())
    with pytest.raises(AssertionError, match="is locked by another transaction"):
        crash(Plain)
