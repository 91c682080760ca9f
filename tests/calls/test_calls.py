import functools
import json
import subprocess
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db.migrations.state import ModelState
from django.db.migrations.writer import MigrationWriter
from django.template import Context, Template
from django.utils.functional import SimpleLazyObject
from django_delayed import DelayMixin, SerializationError, delay, handle_asynchronously
from django_delayed.calls import Call, CallJob
from django_delayed.calls.methods import undelayed
from django_delayed.execution.outcomes import Failed
from django_delayed.models import DelayedJob
from tests.blog import jobs
from tests.blog.models import Article, Draft, Fancy, Letter, Post, Token, Word
from tests.blog.work import perform_next, work_off, write
from tests.stranger import Stranger

pytestmark = pytest.mark.django_db


@pytest.fixture
def fancy():
    return Fancy.objects.create(title="f")


# delay()


def test_a_method_of_an_instance_is_delayed(post, diary):
    row = post.delay().send_to_twitter("hello", tag="news")
    assert isinstance(row, DelayedJob)
    assert (row.name, row.about) == ("Post.send_to_twitter", f"blog.post:{post.pk}")
    assert str(row) == f"Post.send_to_twitter #{row.pk}"
    assert diary == []
    work_off()
    assert diary == [("tweet", post.pk, "hello", "news")]


def test_delay_takes_the_options_of_the_job(post):
    row = post.delay(queue="tweets", priority=-5, wait=timedelta(minutes=5)).send_to_twitter()
    assert (row.queue, row.priority, row.run_at - row.created_at) == ("tweets", -5, timedelta(minutes=5))


def test_every_way_to_write_a_delayed_call_works(post, diary):
    word = Word.objects.create(text="w")
    Post.delay().rebuild(1)
    Draft.delay().rebuild(2)
    Post.delay().ping("3")
    post.delay().ping("4")
    post.delay().rebuild(5)
    delay(Post).rebuild(6)
    delay(Post.rebuild)(7)
    delay(Post.ping)("8")
    delay(post.send_to_twitter)("9")
    delay(word).spell()
    delay(word.spell)()
    delay(jobs.resize, queue="images")(post, width=200)
    delay(jobs.decorated)(12)
    delay(jobs.remembered)(13)
    delay(jobs.Cleaner).clean("14")
    delay(jobs.Cleaner.clean)("15")
    delay(jobs.Cleaner).wipe("16")
    delay(jobs.Cleaner.wipe)("17")
    delay(jobs.Cleaner.Inner).sweep()
    delay(Post.send_to_twitter)(post, "19")
    while DelayedJob.objects.exists():
        perform_next()
    assert sorted(diary, key=repr) == sorted(
        [
            ("rebuild", "Post", 1),
            ("rebuild", "Draft", 2),
            ("ping", "3"),
            ("ping", "4"),
            ("rebuild", "Post", 5),
            ("rebuild", "Post", 6),
            ("rebuild", "Post", 7),
            ("ping", "8"),
            ("tweet", post.pk, "9", None),
            ("spell", "w"),
            ("spell", "w"),
            ("resize", post, 200),
            "around",
            ("decorated", 12),
            ("remembered", 13),
            ("clean", "14"),
            ("clean", "15"),
            ("wipe", "16"),
            ("wipe", "17"),
            "sweep",
            ("tweet", post.pk, "19", None),
        ],
        key=repr,
    )


def test_methods_of_models_of_every_kind_are_delayed(fancy, diary):
    token = Token.objects.create()
    draft = Draft.objects.create(title="d")
    token.delay().use()
    fancy.delay().send_to_twitter("fancy")
    draft.delay().send_to_twitter("draft")
    Post.objects.defer("title").get(pk=draft.pk).delay().send_to_twitter("deferred")
    work_off()
    assert sorted(diary, key=repr) == sorted(
        [
            ("use", token.pk),
            ("tweet", fancy.pk, "fancy", None),
            ("tweet", draft.pk, "draft", None),
            ("tweet", draft.pk, "deferred", None),
        ],
        key=repr,
    )


def test_a_method_of_a_model_of_django_is_delayed(mailoutbox):
    user = User.objects.create(username="erin", email="erin@example.com")
    delay(user).email_user("Hello", "…")
    delay(SimpleLazyObject(lambda: user)).email_user("Hello again", "…")
    work_off()
    assert [mail.subject for mail in mailoutbox] == ["Hello", "Hello again"]


def test_the_worker_calls_the_override_of_a_subclass(fancy, diary):
    fancy.delay().count()
    work_off()
    assert diary == ["count of Fancy"]


def test_a_display_method_of_django_can_be_delayed(post, diary):
    assert post.delay().get_title_display()
    work_off()
    assert not DelayedJob.objects.exists()


CLEANER = jobs.Cleaner()


def local():
    def inside():
        pass

    return inside


REFUSED = {
    "missing": (lambda post: post.delay().tweet(), AttributeError, "Post has no method 'tweet'"),
    "private": (lambda post: post.delay()._internal(), AttributeError, r"Post\._internal is private"),
    "field": (lambda post: post.delay().title(), TypeError, r"Post\.title is not a method"),
    "property": (lambda post: post.delay().headline(), TypeError, r"Post\.headline is not a method"),
    "cached": (lambda post: post.delay().summary(), TypeError, r"Post\.summary is not a method"),
    "attribute": (lambda post: post.delay().publish_at(), TypeError, r"Post\.publish_at is not a method"),
    "manager": (lambda post: post.delay().objects(), TypeError, r"Post\.objects is not a method"),
    "exception": (lambda post: post.delay().DoesNotExist(), TypeError, r"Post\.DoesNotExist is not a method"),
    "relation": (lambda post: post.delay().fancy(), TypeError, r"Post\.fancy is not a method"),
    "instance method": (
        lambda post: Post.delay().send_to_twitter(),
        TypeError,
        r"method of instances; call it on one, as in instance\.delay\(\)\.send_to_twitter",
    ),
    "display": (lambda post: Post.delay().get_title_display(), TypeError, "method of instances"),
    "asynchronous on class": (lambda post: Post.reindex(), TypeError, "method of instances"),
    "delayed on class": (lambda post: Post.delay().reindex(), TypeError, "method of instances"),
    "the proxy": (
        lambda post: post.delay()(),
        TypeError,
        r"Name the method to call: Post\.delay\(…\)\.method",
    ),
    "proxy of class": (lambda post: delay(Post)(), TypeError, "Name the method to call"),
    "async generator": (lambda post: post.delay().titles_async(), TypeError, r"titles_async is a generator"),
    "generator": (lambda post: post.delay().lines(), TypeError, r"Post\.lines is a generator"),
    "generator function": (lambda post: delay(jobs.generate)(), TypeError, "generate is a generator"),
    "too many": (
        lambda post: post.delay().send_to_twitter(1, 2),
        TypeError,
        r"Post\.send_to_twitter\(\): too many positional",
    ),
    "unknown keyword": (lambda post: post.delay().send_to_twitter(to=1), TypeError, "unexpected keyword"),
    "self": (lambda post: post.delay().send_to_twitter(self=1), TypeError, "multiple values for argument"),
    "missing argument": (lambda post: Post.delay().ping(), TypeError, "missing a required argument: 'host'"),
    "function's": (lambda post: delay(jobs.resize)(), TypeError, r"resize\(\): missing a required argument"),
    "unsaved": (lambda post: Post().delay().send_to_twitter(), SerializationError, "save it first"),
    "deleted": (lambda post: post.delete() and post.delay().bare(), SerializationError, "save it first"),
    "asynchronous unsaved": (lambda post: Post().bare(), SerializationError, "save it first"),
    "abstract": (lambda post: Article.delay().check(), SerializationError, "is abstract"),
    "argument": (
        lambda post: post.delay().bare(object()),
        SerializationError,
        "argument 1: .* cannot be serialized",
    ),
    "keyword": (lambda post: post.delay().bare(a=object()), SerializationError, "argument 'a': .* cannot"),
    "lambda": (lambda post: delay(lambda: 1)(), SerializationError, "is a lambda"),
    "named lambda": (lambda post: delay(jobs.a_lambda)(), SerializationError, "is a lambda"),
    "local": (lambda post: delay(local())(), SerializationError, "defined inside a function"),
    "class outside": (lambda post: delay(Stranger).hello(), TypeError, "not in any of INSTALLED_APPS"),
    "inherited from outside": (
        lambda post: delay(jobs.Borrowed).from_float(1.5),
        TypeError,
        "Borrowed.from_float is defined in fractions, which is not in any of INSTALLED_APPS",
    ),
    "borrowed from outside": (lambda post: delay(jobs.Borrowed).run("true"), TypeError, "run is defined in"),
    "wrapped from outside": (
        lambda post: delay(jobs.Borrowed).wrapped("true"),
        TypeError,
        "wrapped is defined in subprocess",
    ),
    "builtin from outside": (lambda post: delay(jobs.Borrowed).fromhex("ff"), TypeError, "fromhex is"),
    "function outside": (lambda post: delay(subprocess.run)(["true"]), SerializationError, "INSTALLED_APPS"),
    "plain object": (
        lambda post: delay(CLEANER).scrub(),
        TypeError,
        "not Cleaner, which a worker could not find",
    ),
    "method of it": (lambda post: delay(CLEANER.scrub)(), TypeError, "only saved model instances can"),
    "partial": (lambda post: delay(functools.partial(jobs.resize, 1)), TypeError, "not partial"),
    "builtin": (lambda post: delay(print), TypeError, "not builtin_function_or_method"),
    "number": (lambda post: delay(5), TypeError, "not int"),
    "queryset": (lambda post: delay(Post.objects.all()), TypeError, "not QuerySet"),
    "method of a queryset": (
        lambda post: delay(Post.objects.all().count),
        TypeError,
        "cannot fetch this QuerySet",
    ),
    "method of a manager": (
        lambda post: delay(Post.objects.all),
        TypeError,
        "cannot fetch this PublishedManager",
    ),
    "coroutine": (lambda post: delay(post.delay()), TypeError, "not DelayProxy"),
    "job": (lambda post: delay(jobs.Plain()), TypeError, r"write enqueue\(job\)"),
}


@pytest.mark.parametrize(("call", "error", "sentence"), REFUSED.values(), ids=REFUSED)
def test_a_misuse_is_an_error_at_the_call(post, diary, call, error, sentence):
    with pytest.raises(error, match=sentence):
        call(post)
    assert not DelayedJob.objects.exists()
    assert diary == []


def test_the_method_of_a_parent_is_not_taken_for_that_of_the_child(fancy):
    parents = super(Fancy, fancy).count
    with pytest.raises(TypeError, match=r"Post\.count is not what Fancy has as count"):
        delay(parents)


def test_a_template_enqueues_nothing(post):
    text = "{{ post.bare }}{{ post.reindex }}{{ post.delay.send_to_twitter }}{{ call }}"
    Template(text).render(Context({"post": post, "call": post.delay().send_to_twitter}))
    assert not DelayedJob.objects.exists()


def test_looking_up_a_method_does_not_run_a_property(post):
    with pytest.raises(TypeError, match="is not a method"):
        post.delay().headline()


# handle_asynchronously


def test_a_decorated_method_enqueues_when_it_is_called(post, diary):
    row = post.bare(1, key=[2])
    assert (row.name, row.queue, row.priority) == ("Post.bare", "default", 0)
    assert diary == []
    work_off()
    assert diary == [("bare", post.pk, (1,), {"key": [2]})]


def test_the_options_of_the_decorator_are_those_of_the_job(post):
    row = post.reindex()
    assert (row.queue, row.priority, row.run_at) == ("index", 20, Post.publish_at)


def test_now_calls_the_method_at_once(post, diary):
    assert post.reindex.now(3) == 3
    Post.rebuild_later.now(4)
    Post.ping_later.now("here")
    assert diary == [("reindex", post.pk, 3), ("rebuild_later", "Post", 4), ("ping_later", "here")]
    assert not DelayedJob.objects.exists()


def test_a_decorated_method_keeps_its_name_and_docstring(post):
    assert post.reindex.__doc__ == Post.reindex.__doc__ == "Bring the search index up to date."
    assert post.reindex.__name__ == "reindex"


def test_class_methods_and_static_methods_can_be_decorated_too(post, diary):
    rows = [Post.rebuild_later(1), Draft.rebuild_later(2), post.ping_later("3"), Post.ping_later("4")]
    assert [row.queue for row in rows] == ["stale", "stale", "default", "default"]
    work_off()
    assert sorted(diary) == [
        ("ping_later", "3"),
        ("ping_later", "4"),
        ("rebuild_later", "Draft", 2),
        ("rebuild_later", "Post", 1),
    ]


def test_the_row_names_the_class_that_defines_the_function(post, fancy, diary):
    assert fancy.bare().name == "Post.bare"
    assert fancy.reindex().name == "Fancy.reindex"
    row = fancy.archive()
    assert row.name == "Article.archive"
    assert '"owner":"tests.blog.models:Article"' in row.payload
    work_off()
    assert sorted(diary, key=repr) == sorted(
        [
            ("bare", fancy.pk, (), {}),
            ("reindex of Fancy", fancy.pk, 1),
            ("reindex", fancy.pk, 2),
            ("archive", "Fancy", fancy.pk),
        ],
        key=repr,
    )


def test_a_class_method_reached_through_an_instance_is_about_the_class(post, diary):
    post.delay().rebuild(3)
    post.rebuild_later(4)
    post.delay().ping("host")
    Post.objects.all().delete()
    work_off()
    assert not DelayedJob.objects.exists()


def test_the_function_of_an_option_is_given_the_class_of_a_class_method(post):
    row = post.delay(queue=lambda cls: cls.__name__).rebuild()
    assert row.queue == "Post"


def test_a_class_method_can_call_the_one_of_its_parent_at_once(diary):
    Fancy.rebuild_later(1)
    work_off()
    assert diary == [("rebuild_later", "Fancy", 2)]


def test_a_plain_override_of_a_decorated_method_is_a_plain_method(fancy, diary):
    fancy.share()  # it calls Post.share(), which is handled asynchronously
    assert diary == [("share of Fancy", fancy.pk)]
    [row] = DelayedJob.objects.all()
    assert row.name == "Post.share"
    diary.clear()
    work_off()
    assert diary == [("share of Post", fancy.pk)]  # the override would enqueue it again for ever
    assert not DelayedJob.objects.exists()


def test_the_object_is_fetched_again(post, diary):
    post.bare()
    Post.objects.filter(pk=post.pk).update(title="hidden")
    work_off()
    assert diary == [("bare", post.pk, (), {})]
    post.bare()
    post.delete()
    perform_next()
    row = DelayedJob.objects.failed().get()
    assert row.error_class == "RecordNotFound"
    assert "is gone" in row.last_error


def test_delay_takes_a_decorated_method_with_options_of_its_own(post, diary):
    rows = [
        post.delay(queue="a").reindex(),
        delay(post, queue="a").reindex(),
        delay(post.reindex, queue="a")(),
    ]
    assert {(row.queue, row.priority, row.name) for row in rows} == {("a", 20, "Post.reindex")}


def test_a_method_that_is_no_longer_decorated_is_still_performed(post, diary, monkeypatch):
    post.bare(1)
    plain = Post.__dict__["bare"].undelayed
    monkeypatch.setattr(Post, "bare", plain)
    work_off()
    assert diary == [("bare", post.pk, (1,), {})]


def test_a_method_that_is_gone_fails_the_job_at_once(post, monkeypatch):
    post.bare()
    monkeypatch.delattr(Post, "bare")
    perform_next()
    assert "Post has no method 'bare'" in DelayedJob.objects.failed().get().last_error


def define(**attributes):
    return type("Anything", (), attributes)


def method(self):
    pass


def _private(self):
    pass


async def async_generator(self):
    yield


def generator(self):
    yield


@pytest.mark.parametrize(
    ("decorate", "error", "sentence"),
    [
        (lambda: handle_asynchronously(handle_asynchronously(method)), TypeError, "method is handled asynch"),
        (
            lambda: handle_asynchronously(queue="a")(handle_asynchronously(method)),
            TypeError,
            "decorate it once",
        ),
        (lambda: handle_asynchronously(property(method)), TypeError, "not for property objects"),
        (
            lambda: handle_asynchronously(functools.cached_property(method)),
            TypeError,
            "not for cached_property objects",
        ),
        (lambda: handle_asynchronously(5), TypeError, "not for int objects"),
        (lambda: handle_asynchronously(prio=1), TypeError, "Unknown option 'prio'"),
        (lambda: handle_asynchronously(queue=""), ValueError, "1 to 255 printable"),
        (lambda: handle_asynchronously(wait=1, run_at=lambda: None), TypeError, "not both"),
        (lambda: handle_asynchronously(_private), TypeError, "_private is private"),
        (lambda: handle_asynchronously(async_generator), TypeError, "async_generator is a generator"),
        (
            lambda: handle_asynchronously(staticmethod(async_generator)),
            TypeError,
            "async_generator is a generator",
        ),
        (lambda: handle_asynchronously(generator), TypeError, "generator is a generator"),
    ],
    ids=range(12),
)
def test_a_wrong_use_of_the_decorator_is_an_error_at_the_definition(decorate, error, sentence):
    with pytest.raises(error, match=sentence):
        define(reindex=decorate())


def test_the_decorator_must_stand_outside_classmethod_and_property():
    for wrap in (classmethod, staticmethod, property):
        thing = define(reindex=wrap(handle_asynchronously(method)))
        with pytest.raises(TypeError, match="Put it above @classmethod or @staticmethod, not on a property"):
            thing().reindex()
        assert not DelayedJob.objects.exists()


def test_a_decorated_function_of_a_module_says_to_use_delay():
    with pytest.raises(TypeError, match=r"write delay\(function\)\(…\)"):
        handle_asynchronously(method)()


def test_a_function_that_is_handled_asynchronously_is_refused_by_delay_and_in_a_row(monkeypatch):
    handled = handle_asynchronously(jobs.resize)
    monkeypatch.setattr(jobs, "resize", handled)
    with pytest.raises(TypeError, match="not AsynchronousMethod, which a worker could not find"):
        delay(handled)
    write({"job": "call", "function": "tests.blog.jobs:resize", "args": [], "kwargs": {}})
    _, outcome = perform_next()
    assert isinstance(outcome, Failed)
    assert outcome.error.message == "tests.blog.jobs:resize is not a function."


@pytest.mark.parametrize(
    "owner", ["tests.blog.models:Fancy", "tests.blog.models:Token", "tests.blog.jobs:Cleaner"]
)
def test_a_row_cannot_call_the_method_of_a_class_on_an_instance_of_another(post, diary, owner):
    row = post.bare()
    payload = json.loads(row.payload) | {"owner": owner}
    DelayedJob.objects.update(payload=json.dumps(payload))
    _, outcome = perform_next()
    assert isinstance(outcome, Failed)
    assert outcome.error.message == f"Post is not a subclass of {owner.partition(':')[2]}."
    assert diary == []


@pytest.mark.parametrize("model", [Post, Token, Letter])
def test_a_migration_of_a_model_names_the_mixin_by_its_public_path(model):
    names = [MigrationWriter.serialize(base) for base in ModelState.from_model(model).bases]
    assert ("django_delayed.DelayMixin", {"import django_delayed"}) in names
    assert not [name for name, _ in names if name.startswith("django_delayed.calls")]


def test_the_mixin_on_a_class_that_is_not_a_model_says_what_it_needs(diary):
    class Service(DelayMixin):
        def serve(self):
            pass

    with pytest.raises(TypeError, match="A worker cannot fetch this Service; only saved model instances can"):
        Service().delay().serve()


def test_a_method_that_is_handled_asynchronously_under_a_private_name_is_refused_at_the_call(
    post, monkeypatch
):
    def publish(self):
        """Tell the world."""

    hidden = handle_asynchronously(publish)
    monkeypatch.setattr(Post, "_hidden", hidden, raising=False)
    hidden.__set_name__(Post, "_hidden")
    with pytest.raises(AttributeError, match=r"Post\._hidden is private"):
        post._hidden()


def test_a_wrapper_around_a_method_that_is_handled_asynchronously_is_kept():
    class Thing:
        @handle_asynchronously
        def act(self):
            """Do it."""

    @functools.wraps(vars(Thing)["act"])
    def wrapper(self):
        return "wrapped"

    assert undelayed(wrapper) is wrapper


UNFINISHED = {
    "the mixin's proxy": (lambda post: post.delay(), "delay of Post, with nothing enqueued: call a method"),
    "a class": (lambda post: delay(Post), "delay of Post, with nothing enqueued: call a method"),
    "a method": (lambda post: post.delay().send_to_twitter, "not enqueued: call it"),
    "a function": (lambda post: delay(jobs.resize), "not enqueued: call it"),
}


@pytest.mark.parametrize(("unfinished", "sentence"), UNFINISHED.values(), ids=UNFINISHED)
def test_the_repr_of_an_unfinished_call_says_that_nothing_is_enqueued(post, unfinished, sentence):
    assert sentence in repr(unfinished(post))
    assert not DelayedJob.objects.exists()


OF_OTHER_SYSTEMS = {
    "no parentheses": (lambda post: post.delay.send_to_twitter(), r"write \.delay\(\)\.send_to_twitter\(…\)"),
    "none after a class": (lambda post: Post.delay.rebuild(), r"write \.delay\(\)\.rebuild\(…\)"),
    "no method": (lambda post: post.delay()(), r"Name the method to call: Post\.delay"),
    "a Job": (lambda post: delay(jobs.Plain)(1), r"write Plain\.perform_later\(…\)"),
    "delay of a Job": (lambda post: jobs.Plain.delay(1), r"write Plain\.perform_later\(…\), or with"),
    "delay of a Job with options": (lambda post: jobs.Plain(1).delay(queue="a"), r"write Plain\.perform"),
    "delay of a method": (
        lambda post: post.bare.delay(1),
        r"write \.bare\(…\), or with options \.delay\(…\)",
    ),
    "delay of a class method": (lambda post: Post.rebuild_later.delay(1), r"write \.rebuild_later\(…\)"),
}


@pytest.mark.parametrize(("call", "sentence"), OF_OTHER_SYSTEMS.values(), ids=OF_OTHER_SYSTEMS)
def test_a_call_in_the_form_of_another_system_says_what_to_write(post, call, sentence):
    with pytest.raises((AttributeError, TypeError), match=sentence):
        call(post)
    assert not DelayedJob.objects.exists()


def test_a_job_may_have_a_delay_of_its_own():
    job = type("Slow", (jobs.Plain,), {"delay": 5})
    assert (job.delay, job().delay) == (5, 5)
    assert not hasattr(jobs.Plain, "delay")


def test_a_template_does_not_call_delay(post):
    assert Template("{{ post.delay }}{{ post.delay.send_to_twitter }}").render(Context({"post": post})) == ""
    assert not DelayedJob.objects.exists()


def test_the_repr_of_a_delayed_call_says_what_is_called(post):
    assert (
        repr(CallJob(Call(post, "send_to_twitter"), "hello", tag=3)) == "Post.send_to_twitter('hello', tag=3)"
    )
