import uuid
from decimal import Decimal

import pytest
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db import connection, models, transaction
from django.db.migrations.state import ModelState, ProjectState
from django.utils.functional import SimpleLazyObject
from django_delayed import DeserializationError, RecordNotFound, SerializationError
from django_delayed.execution.outcomes import Finished
from django_delayed.models import DelayedJob
from django_delayed.serialization import records
from django_delayed.serialization.arguments import decode, encode, from_json, to_json
from tests.blog.jobs import CleanUpJob, Plain
from tests.blog.models import (
    Article,
    Code,
    CodeField,
    Draft,
    Fancy,
    Passage,
    Post,
    Refund,
    Season,
    Seat,
    Silent,
    Ticket,
    Token,
    Word,
)
from tests.blog.work import perform_next

pytestmark = pytest.mark.django_db


def round_trip(value):
    return decode(from_json(to_json(encode(value))))


def test_an_instance_travels_as_a_reference(post):
    assert encode(post) == {"@type": "record", "model": "blog.post", "pk": post.pk, "db": "default"}
    Post.objects.update(title="b")
    assert round_trip(post).title == "b"


def test_an_instance_comes_back_past_every_custom_manager(post):
    Post.objects.update(title="hidden")
    assert not Post.objects.exists()
    assert round_trip(post) == post


@pytest.mark.parametrize(
    "make",
    [
        lambda: Token.objects.create(),
        lambda: Word.objects.create(text="ünï 'quoted' \U0001f600"),
        lambda: Passage.objects.create(chapter=1, verse=2),
        lambda: Fancy.objects.create(title="a"),
        lambda: Draft.objects.create(title="a"),
        lambda: User.objects.create(username="erin"),
        lambda: Group.objects.create(name="editors"),
    ],
    ids=["uuid", "string", "composite", "child", "proxy", "user", "group"],
)
def test_an_instance_comes_back_as_its_own_class(make):
    record = make()
    back = round_trip(record)
    assert (type(back), back.pk) == (type(record), record.pk)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Ticket.objects.create(pk=Code(7)), ["T-7"]),
        (lambda: Season.objects.create(pk=Code(7)), ["T-7"]),
        (lambda: Refund.objects.create(pk=Code(7)), ["T-7"]),
        (lambda: Seat.objects.create(ticket=Ticket.objects.create(pk=Code(7)), number=3), ["T-7", "3"]),
    ],
    ids=["own", "inherited", "renamed", "part of several columns"],
)
def test_a_key_that_is_not_a_plain_value_travels_as_its_field_writes_it(make, key):
    record = make()
    label = type(record)._meta.label_lower
    assert encode(record) == {"@type": "record", "model": label, "key": key, "db": "default"}
    back = round_trip(type(record).objects.get())
    assert (type(back), back.pk) == (type(record), record.pk)
    type(record).objects.all().delete()
    with pytest.raises(RecordNotFound):
        decode({"@type": "record", "model": label, "key": key, "db": "default"})


def test_a_job_about_an_instance_with_such_a_key_is_performed(diary):
    ticket, other = Ticket.objects.create(pk=Code(7)), Ticket.objects.create(pk=Code(8))
    ticket.delay().use(other, [other])
    assert isinstance(perform_next()[1], Finished)
    assert diary == [("use", Code(7), (other, [other]))]


def test_a_key_that_its_field_cannot_read_back_is_refused_at_the_call():
    for number in (7, 8):
        silent = Silent.objects.create(pk=Code(number))
        with pytest.raises(SerializationError, match=r"key of the blog\.silent.*what value_to_string"):
            silent.delay().refresh_from_db()
    assert not DelayedJob.objects.exists()


@pytest.mark.parametrize("error", [ValueError("no"), ValidationError("no"), KeyError("T-7")], ids=repr)
def test_an_error_of_the_field_that_makes_such_a_key_is_raised_as_it_is(monkeypatch, error):
    data = encode(Ticket.objects.create(pk=Code(7)))

    def fail(field, value):
        raise error

    monkeypatch.setattr(CodeField, "to_python", fail)
    with pytest.raises(type(error)):
        decode(data)


def test_a_child_and_its_parent_are_two_references(post):
    child = Fancy.objects.create(title="a")
    assert type(round_trip(child)) is Fancy
    assert type(round_trip(child.post_ptr)) is Post


def test_a_deferred_instance_comes_back_whole(post):
    deferred = Post.objects.only("id").get()
    assert deferred.get_deferred_fields() == {"title"}
    assert round_trip(deferred).get_deferred_fields() == set()


def test_a_lazy_user_travels_as_the_user():
    user = User.objects.create(username="erin")
    lazy = SimpleLazyObject(lambda: user)
    assert type(round_trip(lazy)) is User
    assert records.about_of(lazy) == f"auth.user:{user.pk}"


def test_an_instance_that_is_gone_is_an_error_of_its_own(post):
    data = encode(post)
    Post.everything.all().delete()
    with pytest.raises(RecordNotFound, match=rf"The blog\.post with the primary key {data['pk']} is gone"):
        decode(data)


def test_an_unsaved_instance_is_refused():
    for record in (Post(title="a"), Token(), Post(pk=7), Word(text="a")):
        with pytest.raises(SerializationError, match=r"is not saved.*save it first"):
            encode(record)


def test_a_deleted_instance_is_refused(post):
    post.delete()
    with pytest.raises(SerializationError, match="not saved"):
        encode(post)


def test_a_refused_argument_leaves_the_transaction_usable(post):
    unsaved = Post(title="a")
    for refuse in (
        lambda: CleanUpJob.perform_later(unsaved),
        lambda: unsaved.delay().send_to_twitter(),
        lambda: post.delay().send_to_twitter(float("nan")),
        lambda: post.delay().send_to_twitter("a\0b"),
        lambda: post.delay().send_to_twitter("\udc80"),
        lambda: Plain.perform_later("x" * 2_000_000),
        lambda: post.delay(priority=2**31).send_to_twitter(),
    ):
        with transaction.atomic(), connection.cursor() as cursor:
            with pytest.raises((SerializationError, ValueError)):
                refuse()
            cursor.execute("SELECT 1")
            assert cursor.fetchone() == (1,)
    assert not DelayedJob.objects.exists()


def test_a_model_class_travels_and_an_abstract_one_is_refused():
    assert round_trip(Draft) is Draft
    with pytest.raises(SerializationError, match=r"blog\.article is abstract"):
        encode(Article)


def test_a_model_of_a_migration_is_refused():
    state = ProjectState()
    state.add_model(ModelState("blog", "Post", [("id", models.BigAutoField(primary_key=True))]))
    historical = state.apps.get_model("blog", "Post")
    with pytest.raises(SerializationError, match="not the one of that name"):
        encode(historical)


@pytest.mark.parametrize(
    "reference",
    [
        {"model": "blog.post", "pk": 1},
        {"model": "blog.post", "pk": 1, "db": "nowhere"},
        {"model": "blog.post", "pk": 1, "db": "__class__"},
        {"model": "blog.post", "pk": 1, "db": 5},
        {"model": "blog.post", "pk": 1, "db": ["default"]},
        {"model": "blog.post", "pk": "one", "db": "default"},
        {"model": "blog.post", "pk": [1], "db": "default"},
        {"model": "blog.post", "pk": None, "db": "default"},
        {"model": "blog.post", "pk": {"a": 1}, "db": "default"},
        {"model": "blog.post", "pk": {"@type": "set", "value": []}, "db": "default"},
        {"model": "blog.post", "pk": 10**30, "db": "default"},
        {"model": "blog.post", "pk": -1, "db": None},
        {"model": "blog.word", "pk": "a\0b", "db": "default"},
        {"model": "blog.word", "pk": "\ud800", "db": "default"},
        {"model": "blog.word", "pk": "x" * 100_000, "db": "default"},
        {"model": "blog.token", "pk": "no uuid", "db": "default"},
        {"model": "blog.token", "pk": str(uuid.uuid4()), "db": "default"},
        {"model": "blog.passage", "pk": 1, "db": "default"},
        {"model": "blog.passage", "pk": [1], "db": "default"},
        {"model": "blog.article", "pk": 1, "db": "default"},
        {"model": "blog.nothing", "pk": 1, "db": "default"},
        {"model": "tests.blog.models:Post", "pk": 1, "db": "default"},
        {"model": "blog", "pk": 1, "db": "default"},
        {"model": ["blog.post"], "pk": 1, "db": "default"},
        {"model": None, "pk": 1, "db": "default"},
    ],
    ids=range(25),
)
def test_a_reference_that_makes_no_sense_is_an_error_of_its_own(reference):
    with transaction.atomic(), pytest.raises(DeserializationError):
        decode({"@type": "record"} | reference)


# What a job is about


def test_about_is_the_first_saved_instance(post):
    assert records.about_of(1, Post(), post, Token()) == f"blog.post:{post.pk}"
    assert records.about_of(1, "a") == ""
    assert records.about_of() == ""


def test_about_a_proxy_is_about_its_model():
    assert records.about_of(Draft(pk=5)) == "blog.post:5"


def test_about_is_empty_when_it_is_too_long():
    assert records.about_of(Word(text="x" * 255)) == ""


class WritesToThePrimary:
    def db_for_write(self, model, **hints):
        return "default"


@pytest.mark.django_db
def test_an_instance_that_was_read_from_a_replica_is_fetched_from_where_it_is_written(settings, post):
    settings.DATABASE_ROUTERS = [WritesToThePrimary()]
    post._state.db = "replica"
    assert records.reference(post) == ("blog.post", post.pk, "default")


@pytest.mark.django_db
def test_without_a_router_an_instance_is_fetched_from_where_it_was_read(post):
    post._state.db = "other"
    assert records.reference(post) == ("blog.post", post.pk, "other")


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["1E+999999999", "-1E+1000000", "1E-999999"])
def test_a_key_that_would_take_hours_to_convert_is_refused(text):
    with pytest.raises(DeserializationError, match="cannot have a primary key of"):
        records.fetch(Post, Decimal(text), "default")
