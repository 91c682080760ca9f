import re

import pytest
from django.db import connection
from django.test import TestCase
from django_delayed import enqueue_all
from django_delayed.testing import JobsMixin, assert_enqueued, assert_not_enqueued, enqueued
from tests.blog.jobs import CleanUpJob, Plain
from tests.blog.models import Post

pytestmark = pytest.mark.django_db


def says(*sentences):
    """A block that must fail with these sentences."""
    return pytest.raises(AssertionError, match="(?s)" + ".*".join(map(re.escape, sentences)))


def test_an_enqueued_job_passes_the_assertion():
    post = Post.objects.create(title="a")
    post.delay(queue="tweets").send_to_twitter("now")
    assert_enqueued(Post.send_to_twitter, args=("now",), queue="tweets", wait=0, times=1)
    assert_enqueued()
    assert_enqueued(times=1)
    assert_not_enqueued(Plain)
    assert_not_enqueued(Post.send_to_twitter, args=("later",))


def test_a_failing_assertion_prints_what_was_enqueued():
    post = Post.objects.create(title="a")
    post.delay(queue="tweets", priority=-5).send_to_twitter("later")
    Plain.perform_later(1)
    with says(
        "Post.send_to_twitter with args=('now',) and queue='tweets' was not enqueued. These jobs wait:\n",
        f"  Post.send_to_twitter('later') about blog.post:{post.pk}, queue 'tweets', priority -5, run_at 20",
        "\n  Plain(1), queue 'default', priority 0, run_at 20",
    ):
        assert_enqueued(Post.send_to_twitter, args=("now",), queue="tweets")


def test_a_failing_assertion_says_that_no_job_waits():
    with says("CleanUpJob was not enqueued. No job waits."):
        assert_enqueued(CleanUpJob)


def test_a_long_list_is_cut():
    enqueue_all([Plain(number) for number in range(23)])
    with says("Plain(19)", "\n  and 3 more"):
        assert_enqueued(CleanUpJob)


def test_assert_not_enqueued_prints_the_jobs_that_wait():
    Plain.perform_later(1)
    with says("Plain was enqueued once. These jobs wait:\n  Plain(1)"):
        assert_not_enqueued(Plain)
    with says("A job was enqueued once."):
        assert_not_enqueued()


def test_the_number_of_times_is_exact():
    enqueue_all([Plain(1), Plain(1)])
    assert_enqueued(Plain, times=2)
    with says("Plain with args=(1,) was enqueued 2 times, not once."):
        assert_enqueued(Plain, args=(1,), times=1)
    with says("CleanUpJob was enqueued 0 times, not 3 times."):
        assert_enqueued(CleanUpJob, times=3)
    with pytest.raises(ValueError, match="times must be at least 1"):
        assert_enqueued(Plain, times=0)


def test_a_job_that_cannot_be_loaded_is_printed_and_matches_no_method():
    post = Post.objects.create(title="a")
    post.delay().send_to_twitter()
    post.delete()
    with says(
        "Post.send_to_twitter was not", "Post.send_to_twitter, which cannot be loaded (RecordNotFound: "
    ):
        assert_enqueued(Post.send_to_twitter)


def test_a_job_that_cannot_be_loaded_can_be_matched_by_its_columns():
    post = Post.objects.create(title="a")
    post.delay(queue="tweets").send_to_twitter()
    post.delete()
    assert_enqueued(queue="tweets", times=1)
    assert_not_enqueued(queue="mail")
    assert_not_enqueued(args=())
    assert enqueued() == []
    with says("A job was enqueued once.", "which cannot be loaded"):
        assert_not_enqueued()


def test_the_message_mentions_jobs_that_wait_for_a_commit(settings, django_capture_on_commit_callbacks):
    settings.DJANGO_DELAYED = {"ENQUEUE": "on_commit"}
    connection.on_commit(lambda: None)
    with pytest.raises(AssertionError) as caught:
        assert_enqueued(Plain)
    assert "on commit" not in str(caught.value)
    with django_capture_on_commit_callbacks(execute=True):
        Plain.perform_later()
        with says(
            "1 of them, or more, would be enqueued on commit", "captureOnCommitCallbacks(execute=True)"
        ):
            assert_enqueued(Plain)
    assert_enqueued(Plain)


def test_the_message_mentions_that_jobs_are_performed_inline(settings):
    settings.DJANGO_DELAYED = {"DELAY_JOBS": False}
    Plain.perform_later()
    with says("DELAY_JOBS performs jobs where they are enqueued."):
        assert_enqueued(Plain)


def test_an_enqueue_registers_no_on_commit_callback(django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks() as callbacks:
        Plain.perform_later()
    assert callbacks == []


class TestOfATestCase(JobsMixin, TestCase):
    def test_the_mixin_has_all_functions_as_methods(self):
        Plain.perform_later(1)
        self.assert_enqueued(Plain, args=(1,))
        self.assert_not_enqueued(CleanUpJob)
        [job] = self.enqueued(Plain)
        assert tuple(job.args) == (1,)
        self.crash(Plain)
        self.deliver_twice(Plain)
        assert self.work_off() == 0
