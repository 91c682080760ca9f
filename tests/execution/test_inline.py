"""Jobs that are performed where they are enqueued keep to the rules of a worker."""

import logging
import time
from contextvars import ContextVar
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.db.transaction import TransactionManagementError
from django.utils import timezone
from django_delayed import Job, JobTimeout, RecordNotFound
from django_delayed.exceptions import JobInterrupted
from django_delayed.execution import inline
from django_delayed.models import DelayedJob
from django_delayed.signals import job_discarded, job_enqueued, job_errored, job_failed, job_finished
from django_delayed.signals import job_started as started
from tests.blog import jobs
from tests.blog.jobs import Discarded, DiscardedWithItsRecord, Hooked, HookedByClass, Plain, Ruled, Sleepy
from tests.blog.models import Post

variable = ContextVar("variable", default="the caller's")


@pytest.fixture(autouse=True)
def performed_inline(settings):
    settings.DJANGO_DELAYED = {"DELAY_JOBS": False}


@pytest.mark.django_db
def test_a_finished_job_is_announced_and_its_row_has_no_id(heard):
    row = Plain.perform_later(1)
    assert [(signal, pk) for signal, _, pk, _ in heard] == [(started, None), (job_finished, None)]
    assert heard[1][3]["job"].args == (1,)
    assert (row.pk, row.state) == (None, "finished")


@pytest.mark.django_db
def test_nothing_is_announced_as_enqueued():
    said = []

    def hear(**what):
        said.append(what)

    job_enqueued.connect(hear)
    Plain.perform_later()
    job_enqueued.disconnect(hear)
    assert said == []


@pytest.mark.django_db
def test_the_hook_after_the_enqueue_sees_what_the_row_would_hold(monkeypatch, diary):
    def look(job):
        diary.append((job.delayed_job.queue, job.delayed_job.id))

    monkeypatch.setattr(Plain, "after_enqueue", look)
    Plain.set(queue="mail").perform_later()
    assert diary[0] == ("mail", None)


@pytest.mark.django_db
def test_the_error_hooks_run_and_its_only_attempt_is_the_last(diary, heard):
    with pytest.raises(ArithmeticError, match="in perform"):
        Hooked.perform_later("perform")
    assert diary[-4:] == [("on_error", "in perform"), "on_error", ("on_failure", "in perform"), "on_failure"]
    assert [signal for signal, *_ in heard] == [started, job_errored, job_failed]
    assert [what["given_up"] for *_, what in heard[1:]] == [True, True]


@pytest.mark.django_db
def test_an_error_that_discard_on_names_is_not_raised_to_the_caller(diary, heard):
    row = Discarded.perform_later("lookup")
    assert diary == [("after_discard", KeyError)]
    assert [signal for signal, *_ in heard] == [started, job_discarded]
    assert row.state == "finished"
    with pytest.raises(ValueError, match="gone"):
        Discarded.perform_later("other")


@pytest.mark.django_db
@pytest.mark.parametrize("job_class", [DiscardedWithItsRecord, HookedByClass])
def test_a_job_that_cannot_be_loaded_is_discarded_too(job_class, diary):
    post = Post.objects.create(title="a")
    Post.objects.filter(pk=post.pk)._raw_delete("default")
    job_class.perform_later(post)
    assert [hook for hook, *_ in diary] == ["after_discard"] * (job_class is HookedByClass)


@pytest.mark.django_db
def test_a_record_that_is_gone_is_an_error_for_the_caller():
    post = Post.objects.create(title="a")
    Post.objects.filter(pk=post.pk)._raw_delete("default")
    with pytest.raises(RecordNotFound):
        Plain.perform_later(post)


@pytest.mark.django_db
def test_a_job_is_stopped_at_its_deadline(in_job):
    def never_end():
        while True:
            time.sleep(0.01)

    with pytest.raises(JobTimeout, match=r"ran longer than its max_run_time of 0\.05 s"):
        in_job(never_end, max_run_time=0.05)


@pytest.mark.django_db
def test_what_a_job_sets_in_a_context_variable_does_not_reach_the_caller(in_job):
    seen = []

    def set_it():
        seen.append(variable.get())
        variable.set("the job's")

    in_job(set_it)
    assert (seen, variable.get()) == (["the caller's"], "the caller's")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("inside", [False, True])
def test_a_job_has_the_connection_of_its_caller(in_job, inside):
    connection.ensure_connection()
    mine, seen = connection.connection, []

    def look():
        seen.append(connections["default"].connection)

    if inside:
        with transaction.atomic():
            in_job(look)
    else:
        in_job(look)
    assert seen == [mine]
    assert connection.connection is mine


@pytest.mark.django_db(transaction=True)
def test_what_a_job_wrote_is_rolled_back_with_the_transaction_of_its_caller(in_job):
    with transaction.atomic():
        in_job(lambda: Post.objects.create(title="a") and None)
        assert Post.objects.exists()
        transaction.set_rollback(True)
    assert not Post.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_an_error_of_the_database_in_a_job_leaves_the_transaction_usable(in_job):
    def err():
        Post.objects.create(title="a")
        with connection.cursor() as cursor:
            cursor.execute("SELECT no_column FROM no_table")

    with transaction.atomic():
        with pytest.raises(DatabaseError):
            in_job(err)
        Post.objects.create(title="b")
    assert Post.objects.filter(title="b").exists()


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_a_job_leaves_open_is_its_error(in_job):
    def leave_open():
        transaction.set_autocommit(False)
        Post.objects.create(title="a")

    with pytest.raises(TransactionManagementError, match="left a transaction open"):
        in_job(leave_open)
    assert not Post.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_the_caller_manages_by_hand_stays_the_callers(in_job):
    transaction.set_autocommit(False)
    try:
        in_job(lambda: Post.objects.create(title="a") and None)
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert Post.objects.get().title == "a"


@pytest.mark.django_db
def test_a_worker_that_is_told_to_stop_at_once_interrupts_what_its_job_performs_inline(in_job, heard):
    def be_interrupted():
        raise JobInterrupted

    with pytest.raises(JobInterrupted):
        in_job(be_interrupted)
    assert [signal for signal, *_ in heard] == [started]


@pytest.mark.django_db
def test_the_error_keeps_the_variables_of_its_frames_for_the_page_of_django(in_job):
    def fail():
        precious = "kept"
        raise ValueError(len(precious))

    with pytest.raises(ValueError, match="4") as caught:
        in_job(fail)
    assert caught.traceback[-1].frame.f_locals["precious"] == "kept"


@pytest.mark.django_db
def test_a_job_knows_that_it_is_in_its_last_attempt(monkeypatch):
    seen = []

    class Asking(Job):
        def perform(self):
            seen.append((self.delayed_job.id, self.delayed_job.attempts, self.delayed_job.max_attempts))

    Asking.__module__ = "tests.blog.jobs"
    Asking.__qualname__ = "Asking"
    monkeypatch.setattr("tests.blog.jobs.Asking", Asking, raising=False)
    Asking.perform_later()
    assert seen == [(None, 1, 1)]


@pytest.mark.django_db
def test_a_rule_for_its_error_does_not_try_the_job_again(diary, heard, monkeypatch):
    monkeypatch.setitem(jobs.CALLS, "ruled", ConnectionError)
    with pytest.raises(ConnectionError):
        Ruled.perform_later()
    assert [signal for signal, *_ in heard] == [started, job_errored, job_failed]
    assert diary == [("on_failure", "ConnectionError")]


@pytest.mark.django_db
def test_a_job_cannot_ask_to_come_again():
    with pytest.raises(RuntimeError, match="no worker performs Sleepy here"):
        Sleepy.perform_later()


@pytest.mark.django_db
def test_the_log_says_once_what_is_ignored(caplog, monkeypatch):
    monkeypatch.setattr(inline, "_has_said_what_is_ignored", False)
    caplog.set_level(logging.INFO, "django_delayed")
    Plain.set(wait=60).perform_later()
    Plain.perform_later()
    said = [record.getMessage() for record in caplog.records if "are ignored" in record.getMessage()]
    assert len(said) == 1
    assert "run_at, wait, queue, priority and max_attempts" in said[0]
    assert not DelayedJob.objects.exists()


@pytest.mark.django_db
def test_the_function_sees_times_by_the_clock_of_this_machine(settings):
    seen = []

    def remember(row):
        seen.append((row.created_at, row.run_at))
        return False

    settings.DJANGO_DELAYED = {"DELAY_JOBS": remember}
    before = timezone.now()
    Plain.set(wait=timedelta(hours=1)).perform_later()
    [(created_at, run_at)] = seen
    assert before <= created_at <= timezone.now()
    assert run_at == created_at + timedelta(hours=1)
