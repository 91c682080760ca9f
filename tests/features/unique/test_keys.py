"""Which jobs are equal, and which keys are refused."""

import asyncio
import json
from datetime import timedelta

import pytest
from django.core.mail import EmailMessage
from django.utils import translation
from django_delayed import Job, SerializationError, Unique, delay, enqueue, enqueue_all, handle_asynchronously
from django_delayed.features.unique.keys import LONGEST_TEXT, UNIQUE, key_in
from django_delayed.mail import deliver_later
from django_delayed.models import DelayedJob, UniqueKey
from tests.blog.jobs import Cleaner, CleanUpJob, Indexing, NoticeMailer, Plain, remembered, resize
from tests.blog.models import Fancy, Post

pytestmark = pytest.mark.django_db


def unique_by(key, **how):
    return Unique(key, **how)


def key_of(row):
    return key_in(row.payload)


def equal(first, second):
    """Whether the second of these enqueues is a duplicate of the first."""
    assert first() is not None
    return second() is None


@pytest.mark.parametrize(
    ("args", "others"),
    [
        ((1,), (1,)),
        (({"b": 1, "a": {"x", "y", "z"}},), ({"a": {"z", "y", "x"}, "b": 1},)),
        ((frozenset("abcdef"),), (frozenset("fedcba"),)),
        (([{1, 2}, {3}],), ([{2, 1}, {3}],)),
    ],
)
def test_jobs_of_the_same_class_with_equal_arguments_are_equal(write, args, others):
    assert equal(lambda: write(*args), lambda: write(*others))


@pytest.mark.parametrize(
    ("args", "others"),
    [
        ((1,), (2,)),
        ((1,), (1.0,)),
        ((1,), (True,)),
        ((1,), ("1",)),
        ((), (None,)),
        (([1, 2],), ([2, 1],)),
        (((1,),), ([1],)),
        (({1},), (frozenset({1}),)),
    ],
)
def test_jobs_with_other_arguments_are_not_equal(write, args, others):
    assert not equal(lambda: write(*args), lambda: write(*others))


def test_language_and_options_make_no_difference(write):
    with translation.override("de"):
        write(queue="a", priority=3)
    with translation.override("fr"):
        assert write(queue="b", wait=60, max_run_time=9) is None


def test_instances_are_equal_by_model_and_primary_key(post):
    other = Post.objects.create(title="b")
    assert equal(
        lambda: enqueue(CleanUpJob(post), unique=True),
        lambda: enqueue(CleanUpJob(Post.objects.get(pk=post.pk)), unique=True),
    )
    assert enqueue(CleanUpJob(other), unique=True) is not None


def test_equal_arguments_of_other_jobs_methods_functions_or_instances_are_not_equal(post, write):
    other = Post.objects.create(title="b")
    fancy = Fancy.objects.create(title="c", pk=post.pk + 100)
    enqueues = [
        lambda: write(1),
        lambda: enqueue(Indexing(1), unique=True),
        lambda: post.delay(unique=True).bare(1),
        lambda: other.delay(unique=True).bare(1),
        lambda: fancy.delay(unique=True).reindex(1),
        lambda: post.delay(unique=True).reindex(1),
        lambda: delay(resize, unique=True)(1),
        lambda: delay(remembered, unique=True)(1),
        lambda: delay(Cleaner, unique=True).clean("1"),
        lambda: NoticeMailer.delay(unique=True).notice("1"),
    ]
    assert None not in [write_one() for write_one in enqueues]
    assert [write_one() for write_one in enqueues] == [None] * len(enqueues)


def test_a_mail_is_unique_by_its_content(settings):
    def mail(text):
        return EmailMessage("hello", text, "a@example.com", ["b@example.com"])

    assert equal(lambda: deliver_later(mail("x"), unique=True), lambda: deliver_later(mail("x"), unique=True))
    assert deliver_later(mail("y"), unique=True) is not None


def test_jobs_with_equal_keys_are_equal(write):
    assert equal(lambda: write(1, unique=Unique("k")), lambda: write(2, unique=Unique(key="k")))
    assert write(1, unique=Unique("other")) is not None
    # The key of the arguments is another one.
    assert write(1) is not None


def test_each_job_class_method_and_function_has_its_own_keys(post, write):
    other = Post.objects.create(title="b")
    unique = Unique(7)
    assert write(1, unique=unique) is not None
    assert enqueue(Indexing(1), unique=unique) is not None
    assert post.delay(unique=unique).reindex() is not None
    assert post.delay(unique=unique).bare() is not None
    # A key is the same for all instances.
    assert other.delay(unique=unique).reindex() is None
    assert delay(resize, unique=unique)(1) is not None
    assert delay(resize, unique=unique)(2) is None


def test_the_function_of_a_key_is_called_like_the_function_of_an_option(post, write):
    given = []

    def key(target):
        given.append(target)
        return 5

    write(1, 2, unique=Unique(key))
    post.delay(unique=Unique(key)).reindex()
    assert given[0].args == (1, 2)
    assert given[1] == post
    assert write(9, unique=Unique(lambda: 5)) is None


def test_a_job_class_may_be_unique_and_set_may_override_it(monkeypatch):
    monkeypatch.setattr(Indexing, "unique", Unique(lambda job: job.args[0]))
    first = Indexing.perform_later(1, "a")
    assert [Indexing.perform_later(1, "b"), Indexing.set(queue="x").perform_later(1)] == [None, None]
    assert Indexing.perform_later(2) is not None
    assert Indexing.set(unique=False).perform_later(1) is not None
    assert Indexing.set(unique=True).perform_later(1) is not None
    assert DelayedJob.objects.get(pk=first.pk).extras & UNIQUE


def test_the_unique_option_may_be_a_function(write):
    def decides(job):
        return job.args[0] > 1

    assert None not in [write(1, unique=decides), write(1, unique=decides), write(2, unique=decides)]
    assert write(2, unique=decides) is None


def test_handle_asynchronously_accepts_the_unique_option():
    decorate = handle_asynchronously(unique=Unique(until="finish"))

    class Shelf:
        @decorate
        @classmethod
        def sort(cls):
            pass

    assert vars(Shelf)["sort"].options == {"unique": Unique(until="finish")}


@pytest.mark.parametrize("length", [1, LONGEST_TEXT, LONGEST_TEXT + 1, 100_000, 900_000])
def test_a_key_may_have_any_length(write, length):
    row = write(1, unique=Unique("é" * length))
    assert write(2, unique=Unique("é" * length)) is None
    assert write(3, unique=Unique("é" * length + "x")) is not None
    assert len(key_of(row).text) == min(length, LONGEST_TEXT)
    assert key_of(row).text.endswith("…") == (length > LONGEST_TEXT)
    assert len(UniqueKey.objects.earliest("pk").key_hash) == 64


@pytest.mark.parametrize(
    "key", ["", 0, False, 2**70, 1.5, b"\0", ("a", 1), timedelta(1), {"a": [None]}, "<b>'\"%s"]
)
def test_a_key_may_have_any_type_that_an_argument_may_have(write, key):
    assert equal(lambda: write(1, unique=Unique(key)), lambda: write(2, unique=Unique(lambda: key)))


@pytest.mark.parametrize(
    "key", [object(), float("nan"), "a\0b", "\ud800", [[object()]], Post(title="unsaved"), int]
)
def test_an_invalid_key_is_refused_when_unique_is_defined(key):
    with pytest.raises((TypeError, SerializationError)):
        Unique(key)


@pytest.mark.parametrize("value", [object(), float("inf"), "\0", Post(title="unsaved"), lambda: 1, None])
def test_an_invalid_key_of_a_function_is_refused_at_the_enqueue(write, value):
    with pytest.raises((TypeError, SerializationError), match=r"Plain: .*key"):
        write(1, unique=Unique(lambda: value))
    assert not DelayedJob.objects.exists()


def test_a_key_that_contains_itself_is_refused(write):
    endless = []
    endless.append(endless)
    with pytest.raises(SerializationError):
        Unique(endless)
    with pytest.raises(SerializationError):
        write(1, unique=Unique(lambda: endless))


def test_an_error_of_the_key_function_reaches_the_caller_and_nothing_is_written(write):
    def key():
        raise LookupError("no key")

    with pytest.raises(LookupError, match="no key"):
        write(1, unique=Unique(key))
    with pytest.raises(LookupError, match="no key"):
        enqueue_all([Plain(1), Plain(2)], unique=Unique(key))
    assert not DelayedJob.objects.exists()
    assert not UniqueKey.objects.exists()


def test_an_async_function_for_the_key_is_refused():
    async def key():
        await asyncio.sleep(0)

    with pytest.raises(TypeError, match="plain function"):
        Unique(key)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"until": "end"}, "until must be 'start' or 'finish', not 'end'"),
        ({"until": None}, "until must be"),
        ({"until": ["start"]}, "until must be"),
        ({"on_duplicate": "raise"}, "on_duplicate must be 'skip' or 'replace', not 'raise'"),
        ({"on_duplicate": True}, "on_duplicate must be"),
        ({"on_duplicate": "x" * 10**6}, "on_duplicate must be"),
    ],
)
def test_an_unknown_value_of_until_or_on_duplicate_is_refused(how, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        Unique(**how)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("unique", ["key", 1, 0, "", ["key"], {"key": 1}, object(), b"k"])
def test_an_invalid_unique_option_is_refused(write, unique):
    with pytest.raises(TypeError, match=r"unique must be Unique\(…\), True or False"):
        write(1, unique=unique)
    with pytest.raises(TypeError, match="unique must be"):
        type("MyJob", (Job,), {"unique": unique})
    with pytest.raises(TypeError, match="unique must be"):
        write(1, unique=lambda: unique)


def test_a_payload_without_a_readable_key_has_none():
    for payload in ["", "[]", "{}", '{"unique": 1}', '{"unique": {"hash": "x", "until": "start"}}', "\0"]:
        assert key_in(payload) is None
    data = {"unique": {"hash": "0" * 64, "until": "never"}}
    assert key_in(json.dumps(data)) is None


def test_the_payload_of_a_unique_job_is_that_of_a_plain_one_with_the_key_added(write):
    plain, row = enqueue(Plain(1)), write(1, unique=Unique(["a", 1], until="finish"))
    data = json.loads(row.payload)
    assert data.pop("unique") == {"hash": key_of(row).hash, "until": "finish", "text": '["a",1]'}
    assert data == json.loads(plain.payload)
