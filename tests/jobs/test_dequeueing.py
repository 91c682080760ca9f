"""Taking back jobs that wait."""

import pytest
from django.utils import translation
from django_delayed import SerializationError, delay, dequeue, enqueue_all
from django_delayed.databases import DatabaseNow
from django_delayed.jobs import dequeueing
from django_delayed.models import DelayedJob, FailedAttempt
from django_delayed.serialization.errors import describe
from tests.blog.jobs import Greeting, Mood, Plain, Reminder, resize
from tests.blog.models import Post
from tests.blog.work import claim, perform_next, write

pytestmark = pytest.mark.django_db


def waiting():
    return list(DelayedJob.objects.order_by("pk"))


def test_jobs_with_these_arguments_are_removed_and_counted(diary):
    enqueue_all(
        [Reminder(1), Reminder(2), Reminder(1), Plain(1), Reminder(1, 2), Reminder(1, x=1), Reminder()]
    )
    assert dequeue(Reminder, 1) == 2
    assert dequeue(Reminder, 1) == 0
    assert dequeue(Reminder, 1, x=1) == 1
    assert DelayedJob.objects.count() == 4


def test_without_arguments_all_jobs_of_the_class_are_removed(diary):
    enqueue_all([Reminder(1), Plain(1), Reminder()])
    assert dequeue(Reminder) == 2
    assert [row.name for row in waiting()] == ["Plain"]
    assert diary == [("before_dequeue", ()), ("after_dequeue", ())]


def test_a_class_whose_perform_requires_arguments_may_be_named_without_any():
    Greeting.perform_later(Post.objects.create(title="x"))
    assert dequeue(Greeting) == 1


def test_arguments_are_compared_as_they_are_stored():
    one, other = Post.objects.create(title="one"), Post.objects.create(title="other")
    Greeting.perform_later(one, tags=frozenset("abc"), mood=Mood.GOOD)
    Greeting.perform_later(other, tags=frozenset("abc"), mood=Mood.GOOD)
    assert dequeue(Greeting, one, tags=frozenset("cab"), mood=Mood.GOOD) == 1
    assert dequeue(Greeting, one, tags=frozenset("cab"), mood=Mood.GOOD) == 0
    assert dequeue(Greeting, other) == 0
    assert dequeue(Greeting, Post.objects.get(pk=other.pk), mood=Mood.GOOD, tags=frozenset("abc")) == 1


def test_arguments_that_are_equal_only_in_python_are_different(diary):
    enqueue_all([Reminder(True), Reminder(1.0), Reminder([1]), Reminder(1), Reminder({"a": 1, "b": 2})])
    assert dequeue(Reminder, 1) == 1
    assert dequeue(Reminder, [True]) == 0
    assert dequeue(Reminder, {"b": 2, "a": 1}) == 1
    assert DelayedJob.objects.count() == 3


def test_the_language_of_the_enqueue_and_its_options_do_not_matter(diary):
    with translation.override("de"):
        Reminder.set(queue="later", wait=3600, max_run_time=5).perform_later(1)
    assert dequeue(Reminder, 1) == 1


def test_hooks_run_once_a_call_and_the_first_has_a_veto(diary):
    enqueue_all([Reminder("sacred"), Reminder(1), Reminder(1)])
    assert dequeue(Reminder, "sacred") == 0
    assert dequeue(Reminder, 1) == 2
    assert dequeue(Reminder, 1) == 0
    assert diary == [
        ("before_dequeue", ("sacred",)),
        ("before_dequeue", (1,)),
        ("after_dequeue", (1,)),
        ("before_dequeue", (1,)),
    ]
    assert len(waiting()) == 1


def test_only_what_waits_is_removed(diary):
    enqueue_all([Reminder(1) for _ in range(4)])
    held, failed = claim(), claim()
    DelayedJob.objects.fail(failed, describe(ValueError()))
    rescheduled = claim()
    DelayedJob.objects.reschedule(rescheduled, describe(ValueError()), DatabaseNow().plus)
    assert dequeue(Reminder, 1) == 2
    assert waiting() == [held, failed]
    assert FailedAttempt.objects.get().delayed_job == failed


def test_a_job_that_a_worker_performs_meanwhile_is_neither_removed_nor_counted(monkeypatch, diary):
    enqueue_all([Reminder(1), Reminder(1)])
    holds = dequeueing._holds

    def fail_the_first(row, *wanted):
        if not DelayedJob.objects.failed().exists():
            DelayedJob.objects.fail(claim(), describe(ValueError()))
        return holds(row, *wanted)

    monkeypatch.setattr(dequeueing, "_holds", fail_the_first)
    assert dequeue(Reminder, 1) == 1
    assert [row.state for row in waiting()] == ["failed"]


def test_a_job_that_was_enqueued_under_a_former_name_is_found(settings, diary):
    later = {"tests.blog.gone:Memo": "tests.blog.gone:Note", "tests.blog.gone:Lost": "tests.blog.gone:No"}
    settings.DJANGO_DELAYED = {"ALIASES": {"tests.blog.gone:Note": "tests.blog.jobs:Reminder", **later}}
    write({"job": "tests.blog.gone:Memo", "args": [1], "kwargs": {}}, "Memo")
    write({"job": "tests.blog.jobs:FormerReminder", "args": [1], "kwargs": {}}, "FormerReminder")
    write({"job": "tests.blog.gone:Note", "args": [1], "kwargs": {}}, "Note")
    write({"job": "tests.blog.gone:Other", "args": [1], "kwargs": {}}, "Note")
    write("no JSON", "Reminder")
    assert dequeue(Reminder, 1) == 3
    assert [row.name for row in waiting()] == ["Note", "Reminder"]


def test_many_rows_are_read_in_parts(monkeypatch, diary):
    monkeypatch.setattr(dequeueing, "ROWS_AT_A_TIME", 3)
    enqueue_all([Reminder(number % 2) for number in range(20)])
    assert dequeue(Reminder, 1) == 10
    perform_next()
    assert len(waiting()) == 9


@pytest.mark.parametrize(
    ("what", "arguments", "error", "sentence"),
    [
        (resize, (), TypeError, r"dequeue\(\) takes a Job class and its arguments, not <function resize"),
        (Reminder(1), (), TypeError, "takes a Job class"),
        ("Reminder", (), TypeError, "takes a Job class"),
        (Greeting, (1, 2), TypeError, r"Greeting\.perform\(\): too many positional arguments"),
        (Reminder, (object(),), SerializationError, "cannot be serialized"),
    ],
)
def test_an_argument_that_no_row_can_hold_is_an_error(what, arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        dequeue(what, *arguments)


def test_a_delayed_call_is_not_removed(diary):
    delay(resize)("photo")
    assert dequeue(Reminder) == 0
    assert len(waiting()) == 1
