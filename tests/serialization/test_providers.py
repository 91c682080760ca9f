"""What CONTEXT carries from the enqueue of jobs, calls and mail to their perform."""

import json
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.db.models.signals import post_init
from django_delayed import SerializationError, delay, enqueue_all
from django_delayed.execution.outcomes import Failed, Finished
from django_delayed.mail import deliver_later
from django_delayed.models import DelayedJob
from django_delayed.serialization import providers
from tests.blog import context, diary, jobs
from tests.blog.models import Post
from tests.blog.work import perform_next, work_off

pytestmark = pytest.mark.django_db


@pytest.fixture
def carrying(settings):
    """Configure these providers, in this order."""

    def configure(**paths):
        settings.DJANGO_DELAYED = {
            "CONTEXT": {name: f"tests.blog.context.{path}" for name, path in paths.items()},
            "UNKNOWN_GRACE": 0,
        }

    return configure


@pytest.fixture
def in_request():
    """Set the id of the current request."""
    tokens = []
    yield lambda id: tokens.append(context.request_id.set(id))
    for token in reversed(tokens):
        context.request_id.reset(token)


@pytest.fixture
def noted(monkeypatch):
    """The ids of the requests that the code of jobs has seen, in order."""
    seen = []
    monkeypatch.setattr(diary, "write", lambda *_: seen.append(context.request_id.get()))
    return seen


def enqueue_job():
    jobs.Plain.perform_later()


def enqueue_jobs():
    enqueue_all([jobs.Plain()])


def enqueue_call():
    Post.objects.create(title="a").delay().send_to_twitter()


def enqueue_function():
    delay(jobs.resize)("a.png")


@pytest.mark.parametrize("enqueue", [enqueue_job, enqueue_jobs, enqueue_call, enqueue_function])
def test_a_value_travels_with_every_kind_of_job(carrying, in_request, noted, enqueue):
    carrying(request="RequestId")
    for id in ("r1", 2, ("a", "tuple")):
        in_request(id)
        enqueue()
    in_request("of the worker")
    work_off()
    assert noted == ["r1", 2, ("a", "tuple")]
    assert context.request_id.get() == "of the worker"


def test_a_value_travels_with_mail(carrying, in_request, monkeypatch):
    seen = []
    monkeypatch.setattr("django_delayed.mail.jobs.deliver", lambda *_: seen.append(context.request_id.get()))
    carrying(request="RequestId")
    in_request("r1")
    deliver_later(EmailMessage("Hello", to=["a@example.com"]))
    in_request("other")
    work_off()
    assert seen == ["r1"]


def test_a_job_that_a_job_enqueues_carries_the_value_on(carrying, in_request, noted, monkeypatch):
    carrying(request="RequestId")
    monkeypatch.setitem(jobs.CALLS, "again", lambda: jobs.Plain.perform_later())
    in_request("r1")
    delay(jobs.call)("again")
    in_request(None)
    work_off()
    assert noted[-1] == "r1"


def test_a_value_is_restored_before_arguments_are_loaded_and_for_the_hooks(carrying, in_request, monkeypatch):
    carrying(request="RequestId")
    post = Post.objects.create(title="a")
    in_request("r1")
    post.delay().fail()
    in_request(None)
    seen = []

    def note(**_):
        seen.append(context.request_id.get())

    post_init.connect(note, sender=Post)
    monkeypatch.setattr("django_delayed.calls.call.CallJob.on_error", lambda *_: note())
    try:
        perform_next()
    finally:
        post_init.disconnect(note, sender=Post)
    assert seen == ["r1", "r1"]


def test_providers_are_restored_in_their_order_and_see_those_before_them(carrying, in_request, monkeypatch):
    written = []
    monkeypatch.setattr(diary, "write", lambda *words: written.append(words))
    carrying(request="RequestId", editor="the_editor")
    post = Post.objects.create(title="an editor")
    in_request("r1")
    token = context.editor.set(post)
    jobs.Plain.perform_later()
    context.editor.reset(token)
    in_request(None)
    _, outcome = perform_next()
    assert isinstance(outcome, Finished)
    assert written[0] == ("restored", "an editor", "r1")


def test_a_job_with_nothing_to_carry_has_the_payload_of_a_plain_one(carrying):
    jobs.Plain.perform_later()
    carrying(request="RequestId")
    jobs.Plain.perform_later()
    first, second = DelayedJob.objects.values_list("payload", flat=True)
    assert first == second
    assert "context" not in json.loads(first)


def test_what_a_job_sets_in_a_context_variable_does_not_reach_the_next_one(monkeypatch, noted):
    monkeypatch.setitem(jobs.CALLS, "set", lambda: context.request_id.set("left behind"))
    delay(jobs.call)("set")
    jobs.Plain.perform_later()
    work_off()
    assert noted == [None]
    assert context.request_id.get() is None


def test_a_job_whose_provider_is_gone_is_not_performed(carrying, in_request, settings, noted):
    carrying(request="RequestId")
    in_request("r1")
    jobs.Plain.perform_later()
    settings.DJANGO_DELAYED = {"UNKNOWN_GRACE": 0}
    _, outcome = perform_next()
    assert isinstance(outcome, Failed)
    assert "DJANGO_DELAYED['CONTEXT'] has no provider for ['request']" in outcome.error.message
    assert noted == []


def test_a_value_that_cannot_be_restored_is_an_error_of_the_job(carrying, noted):
    carrying(broken="Broken")
    jobs.Plain.perform_later()
    perform_next()
    row = DelayedJob.objects.get()
    assert (row.error_class, row.error_message) == ("LookupError", "nobody has this value")
    assert noted == []


def test_a_block_that_raises_at_its_end_is_an_error_of_the_job(carrying, noted):
    carrying(breaks="BreaksAtItsEnd", request="RequestId")
    jobs.Plain.perform_later()
    perform_next()
    row = DelayedJob.objects.get()
    assert (row.state, row.error_message) == ("retrying", "it cannot be left")


def test_a_block_sees_the_error_of_a_job_and_cannot_swallow_it(carrying, noted):
    carrying(curious="Curious")
    context.Curious.seen.clear()
    Post.objects.create(title="a").delay().fail()
    perform_next()
    jobs.Plain.perform_later()
    perform_next()
    assert DelayedJob.objects.get().error_class == "ConnectionError"
    # The second entry is from the block around the hooks.
    assert context.Curious.seen == [ConnectionError, None, None]


@pytest.mark.django_db(transaction=True)
def test_a_block_may_be_a_transaction_of_the_job(carrying, monkeypatch):
    carrying(transaction="Transaction")
    monkeypatch.setitem(jobs.CALLS, "write", lambda: Post.objects.create(title="kept"))

    def write_and_fail():
        Post.objects.create(title="rolled back")
        raise ValueError("it broke")

    monkeypatch.setitem(jobs.CALLS, "fail", write_and_fail)
    delay(jobs.call)("write")
    delay(jobs.call)("fail")
    work_off()
    assert list(Post.objects.values_list("title", flat=True)) == ["kept"]
    assert DelayedJob.objects.get().error_class == "ValueError"


def test_a_value_that_cannot_be_stored_is_refused_at_the_enqueue(carrying):
    carrying(odd="Unstorable")
    with pytest.raises(SerializationError, match=r"Plain: the value that CONTEXT's 'odd' captured: .*object"):
        jobs.Plain.perform_later()
    assert not DelayedJob.objects.exists()


@pytest.mark.parametrize("carried", [[], "text", 5, {"request": {"@type": "nonsense"}}], ids=repr)
def test_a_hand_written_context_is_refused(carrying, carried, noted):
    carrying(request="RequestId")
    jobs.Plain.perform_later()
    row = DelayedJob.objects.get()
    row.payload = json.dumps(json.loads(row.payload) | {"context": carried})
    row.save(update_fields=["payload"])
    perform_next()
    assert DelayedJob.objects.get().error_class
    assert noted == []


@pytest.mark.parametrize(
    "path", ["nowhere.at.all", "tests.blog.context.Nothing", "tests.blog.context.Incomplete"]
)
def test_an_invalid_provider_is_refused_where_a_job_is_enqueued(settings, path):
    settings.DJANGO_DELAYED = {"CONTEXT": {"mine": path}}
    with pytest.raises(ImproperlyConfigured, match=r"DJANGO_DELAYED\['CONTEXT'\]\['mine'\]"):
        jobs.Plain.perform_later()
    assert not DelayedJob.objects.exists()


def test_a_worker_imports_all_of_them_and_leaves_what_is_wrong_with_one_to_its_jobs(
    settings, tmp_path, monkeypatch
):
    (tmp_path / "good_provider.py").write_text("class It:\n    capture = restore = print\n")
    (tmp_path / "bad_provider.py").write_text("raise RuntimeError\n")
    monkeypatch.syspath_prepend(tmp_path)
    paths = {"gone": "no.such.It", "bad": "bad_provider.It", "good": "good_provider.It"}
    settings.DJANGO_DELAYED = {"CONTEXT": paths}
    try:
        providers.import_all()
        assert "good_provider" in sys.modules
    finally:
        sys.modules.pop("good_provider", None)
