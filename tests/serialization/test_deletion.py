import pytest
from django.db import transaction
from django.db.models.signals import post_delete, pre_delete
from django_delayed import SerializationError, delay
from django_delayed.models import DelayedJob
from tests.blog.jobs import Plain, resize
from tests.blog.models import Draft, Fancy, Post, Remark
from tests.blog.work import work_off

pytestmark = pytest.mark.django_db
SENTENCE = r"the blog\.\w+ is being deleted, so no worker could fetch it; pass its primary key"


@pytest.fixture
def receive():
    """Connect a receiver to both signals, or to one, until the end of the test."""
    connected = []

    def connect(function, sender, signals=(pre_delete, post_delete)):
        def receiver(sender, instance, **_):
            function(instance)

        for signal in signals:
            signal.connect(receiver, sender=sender, weak=False)
            connected.append((signal, receiver, sender))

    yield connect
    for signal, receiver, sender in connected:
        signal.disconnect(receiver, sender=sender)


DELETIONS = {
    "instance": lambda post: post.delete(),
    "queryset": lambda post: Post.everything.filter(pk=post.pk).delete(),
    "in a transaction": lambda post: transaction.atomic()(post.delete)(),
}
JOBS = {
    "method": lambda post: post.delay().send_to_twitter(),
    "asynchronous method": lambda post: post.reindex(),
    "argument": lambda post: delay(resize)(post),
    "in a container": lambda post: Plain.perform_later({"posts": [post]}),
    "fetched anew": lambda post: Plain.perform_later(Post.everything.filter(pk=post.pk).first() or post),
}


@pytest.mark.parametrize("signal", [pre_delete, post_delete], ids=["pre_delete", "post_delete"])
@pytest.mark.parametrize("enqueue", JOBS.values(), ids=JOBS)
@pytest.mark.parametrize("delete", DELETIONS.values(), ids=DELETIONS)
def test_a_job_about_an_instance_that_is_being_deleted_is_refused(receive, post, delete, enqueue, signal):
    receive(enqueue, Post, [signal])
    with pytest.raises(SerializationError, match=SENTENCE), transaction.atomic():
        delete(post)
    assert Post.everything.filter(pk=post.pk).exists()
    assert not DelayedJob.objects.exists()


@pytest.mark.parametrize("model", [Draft, Fancy])
def test_it_is_refused_for_a_proxy_and_a_child_too(receive, model):
    record = model.objects.create(title="a")
    receive(lambda post: post.delay().send_to_twitter(), model)
    with pytest.raises(SerializationError, match=SENTENCE), transaction.atomic():
        record.delete()


def test_a_job_about_the_instance_that_a_deletion_began_with_is_refused(receive, post):
    remark = Remark.objects.create(post=post)
    receive(lambda post: None, Post)
    receive(lambda remark: remark.post.delay().send_to_twitter(), Remark, [post_delete])
    with pytest.raises(SerializationError, match=SENTENCE), transaction.atomic():
        post.delete()
    remark.delete()
    assert DelayedJob.objects.get().about == f"blog.post:{post.pk}"


def test_a_job_with_values_of_it_and_a_job_about_another_are_enqueued(receive, post, diary):
    other = Post.objects.create(title="b")
    receive(lambda post: Plain.perform_later(post.pk, post.title), Post, [post_delete])
    receive(lambda post: other.delay().send_to_twitter(post.title), Post, [post_delete])
    pk = post.pk
    post.delete()
    work_off()
    assert diary == [("plain", (pk, "a"), {}), ("tweet", other.pk, "a", None)]


def test_an_instance_that_is_not_deleted_is_accepted_while_somebody_receives_the_signals(
    receive, post, diary
):
    receive(lambda post: None, Post)
    post.delay().send_to_twitter("stays")
    Post.objects.create(title="b").delete()
    post.delay().send_to_twitter("stays too")
    work_off()
    assert [entry[2] for entry in diary] == ["stays", "stays too"]
