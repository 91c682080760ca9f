import dataclasses
import inspect
from datetime import timedelta

import pytest
from django_delayed import Job, enqueue, enqueue_all, every
from django_delayed.jobs.definition import own_schedule
from django_delayed.models import DelayedJob
from tests.blog import jobs as blog_jobs


def define(bases=(Job,), **attributes):
    return type("MyJob", bases, attributes)


def test_a_job_may_say_where_it_goes_and_how_often_it_is_tried():
    job = define(
        queue="mail",
        priority=-5,
        max_attempts=1,
        max_run_time=timedelta(seconds=0.5),
        discard_on=(LookupError, SystemExit),
    )
    assert issubclass(job, Job)
    define(bases=(job,), queue=lambda job: "mail", priority=staticmethod(lambda: 1), max_run_time=90)
    define(on_error=classmethod(both), on_failure=staticmethod(plain), after_discard=classmethod(both))


async def coroutine(self):
    pass


async def async_generator(self):
    yield


def generator(self):
    yield


def plain(self):
    pass


def both(cls, error):
    pass


class Initialised:
    def __init__(self):
        pass


@pytest.mark.parametrize(
    ("attributes", "error", "sentence"),
    [
        (
            {"__init__": plain},
            TypeError,
            "MyJob must not override __init__: a Job takes the arguments of perform",
        ),
        ({"perform": async_generator}, TypeError, r"MyJob\.perform\(\) is a generator"),
        (
            {"perform": generator},
            TypeError,
            r"MyJob\.perform\(\) is a generator, and a worker would not iterate",
        ),
        ({"perform": None}, TypeError, r"MyJob\.perform\(\) must be a method, not None"),
        ({"before_perform": coroutine}, TypeError, r"MyJob\.before_perform\(\) is async, and must not be"),
        ({"after_enqueue": generator}, TypeError, r"MyJob\.after_enqueue\(\) is a generator"),
        ({"on_error": "log"}, TypeError, "must be a method, not 'log'"),
        ({"after_discard": coroutine}, TypeError, r"MyJob\.after_discard\(\) is async"),
        ({"around_perform": plain}, TypeError, "must be a generator with one yield"),
        ({"around_perform": async_generator}, TypeError, "must be a generator with one yield"),
        ({"atomic": 1}, TypeError, r"MyJob\.atomic must be True or False, not 1"),
        ({"atomic": property(plain)}, TypeError, r"MyJob\.atomic must be True or False, not <property"),
        ({"retry_on": {}}, TypeError, r"MyJob\.retry_on must be a tuple like"),
        ({"retry_for": 0}, ValueError, r"MyJob\.retry_for must be longer than 0"),
        ({"expires": -5}, ValueError, r"MyJob\.expires must not be negative"),
        ({"retry_for": "1h"}, TypeError, r"MyJob\.retry_for must be a timedelta"),
        ({"load": plain}, TypeError, "must not override load, which Job uses itself"),
        ({"run": plain}, TypeError, "must not override run"),
        ({"args": ()}, TypeError, "must not override args"),
        ({"queue": ""}, ValueError, r"MyJob\.queue must be 1 to 255"),
        ({"queue": 5}, TypeError, r"MyJob\.queue must be a string"),
        ({"priority": "high"}, TypeError, r"MyJob\.priority must be a whole number"),
        ({"priority": 2**31}, ValueError, "32 bits"),
        ({"max_attempts": 0}, ValueError, r"MyJob\.max_attempts must be at least 1, got 0"),
        ({"max_attempts": True}, TypeError, r"MyJob\.max_attempts must be a whole number, not True"),
        ({"max_attempts": 2.0}, TypeError, r"MyJob\.max_attempts must be a whole number, not 2\.0"),
        ({"max_attempts": 2**31}, ValueError, r"MyJob\.max_attempts must fit into 32 bits"),
        ({"max_run_time": 0}, ValueError, r"MyJob\.max_run_time must be longer than 0"),
        ({"max_run_time": timedelta(seconds=-1)}, ValueError, r"MyJob\.max_run_time must not be negative"),
        ({"max_run_time": "1h"}, TypeError, r"MyJob\.max_run_time must be a timedelta"),
        ({"discard_on": LookupError}, TypeError, "tuple of exception classes"),
        ({"discard_on": [LookupError]}, TypeError, "tuple of exception classes"),
        ({"discard_on": ("LookupError",)}, TypeError, "tuple of exception classes"),
        ({"aliases": "shop.jobs:Old"}, TypeError, r'aliases must be a tuple like \("shop.jobs:OldName",\)'),
        ({"aliases": ["shop.jobs:Old"]}, TypeError, "aliases must be a tuple"),
        ({"aliases": ("shop.jobs.Old",)}, TypeError, "aliases must be a tuple"),
        ({"aliases": (Job,)}, TypeError, "aliases must be a tuple"),
        ({"schedule": "0 3 * * *"}, TypeError, r"MyJob\.schedule must be cron\(…\) or every\(…\), not '0 3"),
        ({"schedule": timedelta(1)}, TypeError, r"MyJob\.schedule must be cron\(…\) or every\(…\)"),
        ({"schedule": plain}, TypeError, r"MyJob\.schedule must be cron\(…\) or every\(…\)"),
        ({"schedule": every(60)}, TypeError, r"MyJob has a schedule and no perform\(\)"),
        (
            {"schedule": every(60), "perform": lambda self, post, *, dry_run=False: None},
            TypeError,
            r"without arguments by its schedule: missing a required argument: 'post'\. To give it some",
        ),
        (
            {"schedule": every(60), "perform": plain, "__qualname__": "test.<locals>.MyJob"},
            TypeError,
            "has to be defined at the top of a module",
        ),
        ({"catch_up": "some"}, ValueError, r"MyJob\.catch_up must be one of latest, none, all, not 'some'"),
        ({"catch_up": None}, ValueError, r"MyJob\.catch_up must be one of"),
        (
            {"aliases": ("tests.blog.jobs:OldName",)},
            TypeError,
            "OldName is an alias of tests.blog.jobs:Renamed already, and tests.jobs.test_definition:MyJob",
        ),
    ],
    ids=range(46),
)
def test_a_mistake_in_a_job_is_an_error_at_its_definition(attributes, error, sentence):
    with pytest.raises(error, match=sentence):
        define(**attributes)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("max_attemps", "max_attempts"),
        ("max_attempt", "max_attempts"),
        ("max_atempts", "max_attempts"),
        ("perfrom", "perform"),
        ("preform", "perform"),
        ("performs", "perform"),
        ("queues", "queue"),
        ("priorty", "priority"),
        ("on_eror", "on_error"),
        ("om_failure", "on_failure"),
        ("before_enqeue", "before_enqueue"),
        ("max_run_tims", "max_run_time"),
        ("discards_on", "discard_on"),
        ("after_discards", "after_discard"),
        ("performed", None),
        ("reform", None),
        ("error", None),
        ("maximum_attempts", None),
    ],
)
def test_a_misspelled_name_is_an_error_that_says_what_was_meant(name, meant):
    if meant is None:
        assert hasattr(define(**{name: plain}), name)
    else:
        with pytest.raises(TypeError, match=f"{name}: did you mean {meant}?"):
            define(**{name: plain})


def test_a_mixin_may_not_override_what_a_job_uses_itself_either():
    with pytest.raises(TypeError, match="must not override __init__"):
        define(bases=(Initialised, Job))


def as_dataclass(**options):
    @dataclasses.dataclass(**options)
    class Remind(Job):
        post: int
        urgent: bool = False

        def perform(self):
            raise AssertionError("it has no arguments")

    return Remind


def with_replaced_init():
    remind = define(perform=plain)
    remind.__init__ = lambda self, post: None
    return remind


REPLACED = {
    "dataclass": as_dataclass,
    "dataclass without eq": lambda: as_dataclass(eq=False, repr=False),
    "replaced by hand": with_replaced_init,
}
USES = {
    "perform_later": lambda remind: remind.perform_later(5),
    "set": lambda remind: remind.set(queue="mail").perform_later(5),
    "enqueue": lambda remind: enqueue(remind(5)),
    "enqueue_all": lambda remind: enqueue_all([remind(5), remind(6)]),
    "perform_now": lambda remind: remind.perform_now(5),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("make", REPLACED.values(), ids=REPLACED)
def test_a_job_whose_init_is_replaced_is_an_error_at_its_first_use(db, make, use):
    with pytest.raises(TypeError, match=r"has an __init__ of its own, perhaps from @dataclass.*def perform"):
        use(make())
    assert not DelayedJob.objects.exists()


def test_a_dataclass_with_slots_and_a_child_of_one_are_errors_at_their_definition():
    with pytest.raises(TypeError, match="Remind must not override __init__"):
        as_dataclass(slots=True)
    with pytest.raises(TypeError, match="Child must not override __init__"):
        type("Child", (as_dataclass(),), {})


def test_a_dataclass_that_makes_no_init_is_a_job_like_others(db):
    remind = as_dataclass(init=False)
    remind.perform = lambda self, post: post
    assert remind.perform_now(5) == 5


def test_the_members_of_a_job_class_can_be_inspected():
    assert dict(inspect.getmembers(blog_jobs.Plain))["perform"] is blog_jobs.Plain.perform


def test_settings_are_not_read_when_a_job_is_defined(settings):
    settings.DJANGO_DELAYED = {"MAX_ATTEMPTS": "many"}
    assert define(max_run_time=90).max_attempts is None


@pytest.mark.parametrize(
    "name", ["name", "target", "about", "set", "perform_later", "row_values", "args", "layers"]
)
def test_an_attribute_that_describes_the_job_may_not_be_overridden(name):
    with pytest.raises(TypeError, match=f"must not override {name}"):
        type("Odd", (Job,), {name: "something else"})


@pytest.mark.parametrize("name", ["wait", "run_at", "wait_until"])
def test_an_attribute_of_a_job_may_not_say_when_it_runs(name):
    with pytest.raises(TypeError, match=rf"with set\({name}=…\)"):
        type("Odd", (Job,), {name: 60})


def test_a_tag_is_for_our_own_job_classes():
    with pytest.raises(TypeError, match="tag= is for the job classes of django_delayed"):

        class Mine(Job, tag="call"):
            pass


def test_a_class_option_may_be_unhashable_and_may_be_replaced(db):
    class ByTenant(list):
        def __call__(self):
            return "tenant"

    Plain = type("Plain", (blog_jobs.Plain,), {"__module__": "tests.blog.jobs", "queue": ByTenant()})
    assert Plain.class_options() == {"queue": Plain.queue}
    Plain.queue = "other"
    assert Plain.class_options() == {"queue": "other"}
    Plain.queue = 5
    with pytest.raises(TypeError, match="queue must be a string"):
        Plain.class_options()
    assert blog_jobs.Plain.class_options() == {}


def test_a_job_may_keep_what_it_likes_under_ordinary_private_names(db, diary):
    job = blog_jobs.Plain(1)
    job._row = job._context = job._checked = {"mine": 1}
    row = enqueue(job)
    assert job.delayed_job.id == row.pk
    assert job.run() == (1,)


WRONG_HOOKS = {
    "on_failure": lambda self: None,
    "on_error": lambda: None,
    "after_discard": lambda self, error, more: None,
    "wait_before_retry": lambda self, attempts: 5,
    "before_perform": lambda self, x: None,
    "after_enqueue": classmethod(lambda cls, row: None),
}


@pytest.mark.parametrize("name", WRONG_HOOKS)
def test_a_hook_that_cannot_be_called_is_an_error_at_its_definition(name):
    with pytest.raises(TypeError, match=rf"Wrong\.{name}\(\) is called as {name}\(self"):
        type("Wrong", (Job,), {"perform": lambda self: None, name: WRONG_HOOKS[name]})


def test_a_generator_that_takes_more_is_an_error_at_its_definition():
    def around_perform(self, block):
        yield

    with pytest.raises(TypeError, match=r"Wrong\.around_perform\(\) is called as around_perform\(self\)"):
        type("Wrong", (Job,), {"perform": lambda self: None, "around_perform": around_perform})


@pytest.mark.parametrize(
    "hook",
    [
        lambda self, error: None,
        lambda self, *args: None,
        lambda self, error, more=1, **others: None,
        classmethod(lambda cls, error: None),
        staticmethod(lambda error: None),
        print,
    ],
    ids=["plain", "any", "more", "of the class", "static", "of C"],
)
def test_a_hook_that_can_be_called_is_taken(hook):
    type("Right", (Job,), {"perform": lambda self: None, "on_failure": hook})


def test_a_schedule_belongs_to_the_job_that_has_it_by_itself_or_by_a_mixin():
    class Nightly:
        schedule = every(60)

    # The classes live as long as these tests run, so otherwise a supervisor would find them.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Job, "__init_subclass__", classmethod(lambda cls, **_: None))
        parent = define(schedule=every(60))
        mixed = define(bases=(Nightly, Job))
        cases = {
            parent: True,
            define(bases=(parent,)): False,
            define(bases=(parent,), schedule=parent.schedule): True,
            define(bases=(parent,), schedule=None): False,
            mixed: True,
            define(bases=(mixed,)): False,
            define(): False,
        }
        assert {job: own_schedule(job, Job) for job in cases} == cases
        for job in cases:
            job.schedule = None
