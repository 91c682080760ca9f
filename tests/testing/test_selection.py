from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone
from django_delayed import Job, delay, enqueue_all
from django_delayed.mail import deliver_later
from django_delayed.mail.jobs import MailJob
from django_delayed.models import DelayedJob
from django_delayed.testing import enqueued
from tests.blog import jobs, tasks
from tests.blog.jobs import CleanUpJob, NoticeMailer, Plain, Renamed, decorated, resize
from tests.blog.models import Fancy, Post

pytestmark = pytest.mark.django_db


@pytest.fixture
def fancy():
    return Fancy.objects.create(title="f")


def test_the_jobs_that_wait_come_in_their_order_with_their_arguments(post):
    enqueue_all([Plain(1, key="a")])
    post.delay(queue="tweets").send_to_twitter("hello", tag="x")
    Plain.set(wait=60).perform_later(post)
    first, second, third = enqueued()
    assert (first.name, first.args, first.kwargs) == ("Plain", (1,), {"key": "a"})
    assert (second.name, second.args, second.kwargs) == ("Post.send_to_twitter", ("hello",), {"tag": "x"})
    assert second.delayed_job.queue == "tweets"
    assert second.target == post
    assert third.args == (post,)


def test_jobs_that_do_not_wait_are_left_out(post):
    Plain.perform_later()
    for columns in ({"locked_at": timezone.now()}, {"failed_at": timezone.now()}):
        Plain.perform_later()
        DelayedJob.objects.filter(pk=DelayedJob.objects.latest("pk").pk).update(**columns)
    assert len(enqueued()) == 1


WAYS = {
    "a method": (lambda post: post.delay().send_to_twitter(), lambda post: Post.send_to_twitter),
    "of an instance": (lambda post: post.delay().send_to_twitter(), lambda post: post.send_to_twitter),
    "an inherited one": (lambda post: post.delay().archive(), lambda post: Post.archive),
    "a class method": (lambda post: Post.delay().rebuild(), lambda post: Post.rebuild),
    "a static method": (lambda post: Post.delay().ping("a"), lambda post: Post.ping),
    "handled asynchronously": (lambda post: post.reindex(), lambda post: Post.reindex),
    "of an instance, handled so": (lambda post: post.reindex(), lambda post: post.reindex),
    "a class method, handled so": (lambda post: Post.rebuild_later(), lambda post: Post.rebuild_later),
    "a static method, handled so": (lambda post: Post.ping_later("a"), lambda post: Post.ping_later),
    "a function": (lambda post: delay(resize)(post), lambda post: resize),
    "a decorated function": (lambda post: delay(decorated)(1), lambda post: decorated),
    "a remembering function": (lambda post: delay(jobs.remembered)(1), lambda post: jobs.remembered),
    "a Job": (lambda post: CleanUpJob.perform_later(post), lambda post: CleanUpJob),
    "a mail of a mailer": (lambda post: NoticeMailer.delay().notice("a"), lambda post: NoticeMailer.notice),
    "a task": (lambda post: tasks.resize.enqueue("a"), lambda post: tasks.resize),
    "a task in another queue": (
        lambda post: tasks.add.using(queue_name="sums").enqueue(1),
        lambda post: tasks.add.using(priority=5),
    ),
    "a message": (lambda post: deliver_later(NoticeMailer().notice("a")), lambda post: MailJob),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_job_is_named_by_the_code_that_it_calls(post, way):
    for others, _ in (WAYS[other] for other in WAYS):
        others(post)
    same_target = {"a method", "of an instance"}, {"handled asynchronously", "of an instance, handled so"}
    enqueue, name = WAYS[way]
    enqueue(post)
    assert len(enqueued(name(post))) == 2 + any(way in ways for ways in same_target)


def test_a_method_of_one_instance_is_not_that_of_another(post):
    other = Post.objects.create(title="b")
    other.delay().send_to_twitter()
    other.reindex()
    assert enqueued(post.send_to_twitter) == enqueued(post.reindex) == []
    assert len(enqueued(other.send_to_twitter)) == len(enqueued(other.reindex)) == 1


def test_an_override_is_another_method_and_an_inherited_one_the_same(fancy):
    fancy.delay().share()
    fancy.delay().send_to_twitter()
    assert enqueued(Post.share) == []
    assert len(enqueued(Fancy.share)) == len(enqueued(Post.send_to_twitter)) == 1


def test_a_job_class_also_names_its_subclasses():
    Renamed.perform_later()
    assert len(enqueued(Plain)) == len(enqueued(Job)) == len(enqueued(Renamed)) == 1
    assert enqueued(CleanUpJob) == []


@pytest.mark.parametrize(
    ("criteria", "count"),
    [
        ({"args": (1,)}, 2),
        ({"args": [1]}, 2),
        ({"args": (1,), "kwargs": {"key": 2}}, 1),
        ({"kwargs": {}}, 2),
        ({"queue": "mail"}, 1),
        ({"priority": -5}, 1),
        ({"run_at": datetime(2100, 1, 1, tzinfo=UTC)}, 1),
        ({"run_at": datetime(2100, 1, 1, 0, 0, 2, tzinfo=UTC)}, 0),
        ({"wait": timedelta(minutes=5)}, 1),
        ({"wait": 300}, 1),
        ({"wait": 302}, 0),
        ({"wait": 0}, 1),
        ({"queue": "mail", "wait": 0}, 0),
        ({"queue": None}, 3),
        ({}, 3),
    ],
    ids=str,
)
def test_all_criteria_have_to_be_met(criteria, count):
    Plain.set(run_at=datetime(2100, 1, 1, tzinfo=UTC), priority=-5).perform_later(1)
    Plain.set(wait=timedelta(minutes=5), queue="mail").perform_later()
    Plain.perform_later(1, key=2)
    assert len(enqueued(Plain, **criteria)) == count


@pytest.mark.parametrize(
    ("criteria", "sentence"),
    [
        ({"quene": "mail"}, "Unknown criterion 'quene'; there are args, kwargs, queue"),
        ({"args": "now"}, r"args must be a tuple or a list, as in args=\('now',\)"),
        ({"kwargs": [1]}, "kwargs must be a dict"),
        ({"queue": 5}, "queue must be a string"),
        ({"priority": "5"}, "priority must be a whole number"),
        ({"wait": "5"}, "wait must be a timedelta or a number of seconds"),
    ],
)
def test_an_invalid_criterion_is_refused(criteria, sentence):
    with pytest.raises(TypeError, match=sentence):
        enqueued(Plain, **criteria)


def test_a_naive_time_is_refused():
    with pytest.raises(ValueError, match="run_at must be aware of its time zone"):
        enqueued(Plain, run_at=datetime(2100, 1, 1))


@pytest.mark.parametrize("what", ["Post.send_to_twitter", 5, Post, Plain(1), Plain.set(queue="a")], ids=repr)
def test_anything_but_a_job_class_or_code_is_refused(what):
    with pytest.raises(TypeError, match="names a Job class, a function, a method or a task"):
        enqueued(what)
