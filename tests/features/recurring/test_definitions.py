"""The schedules of the code: those of Job classes, and those of the setting RECURRING."""

from datetime import timedelta

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django_delayed import cron, enqueue, every
from django_delayed.features.recurring.definitions import definition_of, definitions, problems
from django_delayed.models import Schedule
from tests.blog import jobs
from tests.blog.models import Post

EVERY = every(timedelta(minutes=5))
NAME = "tests.blog.jobs:Plain"


def test_without_schedules_there_are_no_definitions():
    assert definitions() == {}


def test_a_job_class_that_has_a_schedule_recurs_under_its_own_name(monkeypatch):
    monkeypatch.setattr(jobs.Plain, "schedule", EVERY)
    monkeypatch.setattr(jobs.Plain, "catch_up", "all")
    # Its many subclasses do not inherit the schedule.
    [definition] = definitions().values()
    assert (definition.name, definition.job, definition.times) == (NAME, NAME, EVERY)
    assert definition.catch_up == "all"
    assert type(definition.make_job()) is jobs.Plain


@pytest.mark.parametrize(
    ("name", "args", "row_name"),
    [
        ("tests.blog.jobs:Plain", (5,), "Plain"),
        ("tests.blog.jobs:resize", ("a", 7), "resize"),
        ("tests.blog.jobs:decorated", (5,), "decorated"),
        ("tests.blog.jobs:Cleaner.clean", ("here",), "Cleaner.clean"),
        ("tests.blog.jobs:Cleaner.wipe", ("here",), "Cleaner.wipe"),
        ("tests.blog.jobs:Cleaner.Inner.sweep", (), "Cleaner.Inner.sweep"),
    ],
)
def test_the_setting_makes_jobs_functions_and_class_methods_recur(recurring, db, name, args, row_name):
    recurring(it={"job": name, "schedule": EVERY, "args": args, "queue": "nightly", "max_attempts": 2})
    [definition] = definitions().values()
    assert (definition.name, definition.job, definition.times) == ("it", name, EVERY)
    assert definition.catch_up == "latest"
    row = enqueue(definition.make_job())
    assert (row.name, row.queue, row.max_attempts) == (row_name, "nightly", 2)


def test_a_method_that_is_handled_asynchronously_keeps_its_options(recurring, db, monkeypatch):
    methods = [
        name
        for name, method in vars(Post).items()
        if hasattr(type(method), "undelayed") and isinstance(method.undelayed, (classmethod, staticmethod))
    ]
    assert methods
    recurring(it={"job": f"tests.blog.models:Post.{methods[0]}", "schedule": EVERY})
    [definition] = definitions().values()
    assert vars(Post)[methods[0]].options in definition.make_job().layers


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"schedule": "0 3 * * *"}, "its schedule must be cron(…) or every(…), not '0 3 * * *'"),
        ({"schedule": timedelta(1)}, "its schedule must be cron(…) or every(…)"),
        ({"job": "tests.blog.jobs:Absent"}, "does not exist"),
        ({"job": "os:system"}, "may not be named by a job"),
        ({"job": "tests.blog.jobs:system"}, "is not defined there"),
        ({"job": "tests.blog.jobs:_private"}, "private"),
        ({"job": "tests.blog.tasks:add"}, "is a task of Django's: name a function that enqueues it."),
        ({"job": "tests.blog.jobs:Mood"}, "is not a Job"),
        ({"job": "tests.blog.jobs:Cleaner.scrub"}, "is a method of instances"),
        ({"job": "tests.blog.models:Post.save"}, "Post.save is a method of instances"),
        ({"job": "tests.blog.jobs:Cleaner.absent"}, "Cleaner has no method 'absent'"),
        ({"job": "tests.blog.jobs:CleanUpJob"}, "missing a required argument: 'post'"),
        ({"job": "tests.blog.jobs:resize"}, "missing a required argument: 'photo'"),
        ({"kwargs": {"a": object()}}, "object"),
        ({"queue": "a,b"}, "queue must have no comma"),
        ({"priority": "high"}, "priority must be a whole number"),
    ],
)
def test_an_invalid_entry_is_reported_by_the_checks_and_stops_the_supervisor(recurring, entry, why):
    recurring(nightly={"schedule": EVERY} | entry)
    [sentence] = problems()
    assert sentence.startswith("DJANGO_DELAYED['RECURRING']['nightly']: ")
    assert why in sentence
    assert [message.msg for message in run_checks() if message.id == "django_delayed.E016"] == [sentence]
    with pytest.raises(ImproperlyConfigured) as raised:
        definitions()
    assert str(raised.value) == sentence


def test_the_job_of_a_row_has_its_arguments_and_its_options(schedule):
    arguments = '{"args": [1, {"a": null}], "kwargs": {"b": "c"}}'
    row = schedule(arguments=arguments, queue="nightly", priority=-7, catch_up="none")
    definition = definition_of(row)
    job = definition.make_job()
    assert (job.args, job.kwargs) == ((1, {"a": None}), {"b": "c"})
    assert (definition.times, definition.catch_up) == (EVERY, "none")
    written = enqueue(job)
    assert (written.queue, written.priority) == ("nightly", -7)


def test_a_row_without_options_has_those_of_its_job(schedule):
    arguments = '{"args": [1], "kwargs": {}}'
    row = enqueue(definition_of(schedule(job="tests.blog.jobs:CleanUpJob", arguments=arguments)).make_job())
    assert (row.queue, row.priority) == ("maintenance", 10)


def test_the_times_of_a_row_are_checked_again():
    row = Schedule(job=NAME, cron="0 3 * * *", zone="Europe/Paris")
    assert definition_of(row).times == row.times == cron("0 3 * * *", zone="Europe/Paris")
    with pytest.raises(ValueError, match="is not a cron expression"):
        definition_of(Schedule(job=NAME, cron="0 99 * * *"))
    with pytest.raises(ValueError, match="There is no time zone"):
        definition_of(Schedule(job=NAME, cron="0 3 * * *", zone="Mars"))


def test_a_row_can_only_name_a_job_class():
    with pytest.raises(TypeError, match="resize is not a Job"):
        definition_of(Schedule(job="tests.blog.jobs:resize", every=timedelta(1), arguments="")).make_job()
