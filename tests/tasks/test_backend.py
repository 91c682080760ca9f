"""The backend of TASKS: what is enqueued, with which options, and what is refused."""

import math
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_delayed.models import DelayedJob
from django_delayed.reports import reporting
from django_delayed.tasks import DelayedBackend, DelayedTask
from tests.blog import jobs, tasks
from tests.blog.models import Post
from tests.blog.work import work_off, write
from tests.tasks.framework import (
    TAKES_POLICY,
    InvalidTask,
    Task,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task,
    task_backends,
    task_enqueued,
)

pytestmark = pytest.mark.django_db
BACKEND = "django_delayed.tasks.DelayedBackend"


class Level(IntEnum):
    HIGH = 3


def test_a_task_is_enqueued_as_a_row():
    result = tasks.add.enqueue(1, second=2)
    row = DelayedJob.objects.get()
    assert (result.id, result.status) == (str(row.pk), TaskResultStatus.READY)
    assert (row.name, row.queue, row.priority, row.state) == ("add", "default", 0, "enqueued")
    assert (result.args, result.kwargs, result.backend) == ([1], {"second": 2}, "default")
    assert (result.attempts, result.errors, result.worker_ids) == (0, [], [])
    assert result.enqueued_at == row.created_at
    assert (result.started_at, result.last_attempted_at, result.finished_at) == (None, None, None)


def test_the_result_of_an_enqueue_equals_the_one_that_is_read_back():
    later = timezone.now() + timedelta(hours=1)
    for used in (
        tasks.add,
        tasks.add.using(priority=-5, queue_name="slow", run_after=later),
        tasks.add.using(run_after=timedelta(minutes=5)),
        tasks.add_async,
        tasks.look,
        tasks.impatient,
    ):
        result = used.enqueue() if used is tasks.impatient else used.enqueue(1)
        assert result.task == used
        assert used.get_result(result.id) == result


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({1: "a"}, {"1": "a"}),
        ((1, [2, (3,)]), [1, [2, [3]]]),
        (b"\xc3\xbc", "ü"),
        (Level.HIGH, 3),
        ({None: True}, {"null": True}),
        ({"@type": "set", "value": [1]}, {"@type": "set", "value": [1]}),
        (2**70, 2**70),
        ("\0\ud800", "\0\ud800"),
    ],
)
def test_arguments_are_normalized_to_json(given, stored):
    result = tasks.add.enqueue(given)
    assert result.args == [stored]
    assert type(result.args[0]) is type(stored)
    assert tasks.add.get_result(result.id).args == [stored]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (datetime(2026, 1, 2, tzinfo=UTC), TypeError, "Unsupported type"),
        ({1}, TypeError, "Unsupported type"),
        (math.nan, ValueError, "not JSON compliant"),
        (b"\xff", ValueError, "Unsupported value"),
        ({1: "a", "1": "b"}, ValueError, "two keys that are equal in JSON"),
    ],
)
def test_an_argument_that_json_cannot_hold_is_refused_at_the_enqueue(given, error, message):
    with pytest.raises(error, match=message):
        tasks.add.enqueue(given)
    with pytest.raises(error, match=message):
        tasks.add.enqueue(first=given)
    assert not DelayedJob.objects.exists()


def test_an_argument_that_contains_itself_is_refused():
    endless = []
    endless.append(endless)
    with pytest.raises(ValueError, match="contains itself"):
        tasks.add.enqueue(endless)


def test_an_argument_that_is_nested_too_deep_is_refused():
    deep = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(ValueError, match="more than 100 levels"):
        tasks.add.enqueue(deep)
    tasks.add.enqueue(deep[0][0][0])


def test_a_model_instance_is_refused():
    with pytest.raises(TypeError, match="Unsupported type"):
        tasks.add.enqueue(Post(pk=1))


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"third": 3})])
def test_arguments_that_do_not_fit_the_function_are_refused(args, kwargs):
    with pytest.raises(TypeError, match=r"add\(\): "):
        tasks.add.enqueue(*args, **kwargs)


def test_the_caller_does_not_pass_the_context():
    assert tasks.look.enqueue(1, 2).args == [1, 2]
    with pytest.raises(TypeError, match="look_async"):
        tasks.look_async.enqueue("a context")


# Priority, queue, time


@pytest.mark.parametrize(("priority", "stored"), [(100, -100), (1, -1), (0, 0), (-100, 100), (3.0, -3)])
def test_the_priority_of_a_task_is_stored_with_the_opposite_sign(priority, stored):
    tasks.add.using(priority=priority).enqueue(1)
    assert DelayedJob.objects.get().priority == stored


def test_a_task_without_a_priority_has_the_priority_of_its_queue(settings):
    settings.DJANGO_DELAYED = {"QUEUE_ATTRIBUTES": {"slow": {"priority": 7, "max_attempts": 3}}}
    result = tasks.add.using(queue_name="slow").enqueue(1)
    row = DelayedJob.objects.get()
    assert (row.priority, row.max_attempts) == (7, 3)
    assert tasks.add.get_result(result.id).task.priority == 0


def test_the_decorator_sets_queue_and_priority():
    tasks.resize.enqueue("a.png")
    row = DelayedJob.objects.get()
    assert (row.queue, row.priority) == ("images", -10)


def test_a_task_may_be_deferred_to_a_time():
    later = timezone.now() + timedelta(hours=1)
    tasks.add.using(run_after=later).enqueue(1)
    row = DelayedJob.objects.get()
    assert (row.run_at, row.state) == (later, "scheduled")


def test_a_task_may_be_deferred_by_a_duration_from_its_enqueue():
    deferred = tasks.add.using(run_after=timedelta(hours=1))
    result = deferred.enqueue(1)
    row = DelayedJob.objects.get()
    assert timedelta(minutes=59) < row.run_at - row.created_at < timedelta(minutes=61)
    assert result.task.run_after == timedelta(hours=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"priority": 101}, "whole number between -100 and 100"),
        ({"priority": 1.5}, "whole number between -100 and 100"),
        ({"priority": "high"}, "priority must be a whole number, not 'high'"),
        ({"priority": math.nan}, "priority must be a whole number"),
        ({"queue_name": 3}, "queue_name must be a string"),
        ({"queue_name": "a,b"}, "no comma"),
        ({"queue_name": "mail_*"}, "patterns"),
        ({"run_after": datetime(2026, 1, 2)}, "aware datetime"),
        ({"run_after": date(2026, 1, 2)}, "datetime or a timedelta"),
        ({"run_after": 60}, "datetime or a timedelta"),
    ],
)
def test_a_wrong_option_is_an_invalid_task(options, message):
    with pytest.raises(InvalidTask, match=message):
        tasks.add.using(**options)


def test_a_time_out_of_range_is_refused_before_any_sql():
    with pytest.raises(ValueError, match="out of range"):
        tasks.add.using(run_after=datetime(9999, 1, 2, tzinfo=UTC)).enqueue(1)


def test_a_queue_that_is_not_in_queues_is_refused(settings):
    settings.TASKS = {"default": {"BACKEND": BACKEND, "QUEUES": ["default", "mail"]}}
    assert tasks.add.using(queue_name="mail").queue_name == "mail"
    with pytest.raises(InvalidTask, match="'images' is not valid"):
        tasks.add.using(queue_name="images")
    with pytest.raises(InvalidTask, match="'images' is not valid"):
        tasks.resize.enqueue("a.png")


# The class of tasks


def test_a_task_is_a_delayed_task_and_one_of_the_framework():
    assert isinstance(tasks.add, DelayedTask)
    assert isinstance(tasks.add, Task)


@pytest.mark.skipif(not TAKES_POLICY, reason="Django 6.0's decorator takes no options but its own")
def test_the_decorator_accepts_a_policy():
    made = task(max_attempts=3, discard_on=(KeyError,), priority=4)(tasks.add.func)
    assert (made.max_attempts, made.discard_on, made.priority) == (3, (KeyError,), 4)
    with pytest.raises(TypeError, match="unexpected keyword argument 'retries'"):
        task(retries=3)(tasks.add.func)


def test_the_row_of_a_task_follows_the_policy_of_the_task(diary):
    tasks.impatient.enqueue()
    row = DelayedJob.objects.get()
    assert row.max_attempts == 2
    work_off()
    row.refresh_from_db()
    assert diary == [("wait", 1, ValueError)]
    assert timedelta(seconds=80) < row.run_at - timezone.now() <= timedelta(seconds=90)


def test_a_wait_before_a_retry_may_be_a_number():
    tasks.regular.enqueue()
    work_off()
    assert timedelta(seconds=10) < DelayedJob.objects.get().run_at - timezone.now() <= timedelta(seconds=15)


@pytest.mark.parametrize(
    "policy",
    [
        {"max_attempts": 0},
        {"max_attempts": "3"},
        {"max_run_time": 0},
        {"max_run_time": "1 h"},
        {"wait_before_retry": "soon"},
        {"discard_on": [KeyError]},
        {"discard_on": (3,)},
        {"discard_on": None},
    ],
)
def test_a_wrong_policy_is_an_invalid_task(policy):
    [name] = policy
    with pytest.raises(InvalidTask, match=name):
        replace(tasks.add, **policy)


def test_a_policy_that_differs_from_the_one_in_the_module_is_refused_at_the_enqueue():
    with pytest.raises(InvalidTask, match="as its module has it"):
        replace(tasks.add, max_attempts=3).enqueue(1)


def test_a_task_that_no_worker_could_find_is_refused_at_the_enqueue(monkeypatch):
    def elsewhere():
        pass

    for module, qualname in (("__main__", "elsewhere"), ("tests.blog.tasks", "gone"), ("nowhere", "gone")):
        elsewhere.__module__, elsewhere.__qualname__ = module, qualname
        with pytest.raises(InvalidTask, match="No worker could find the task"):
            task(elsewhere).enqueue()


# The row and its transaction


def test_a_task_is_written_in_the_callers_transaction():
    with transaction.atomic():
        tasks.add.enqueue(1)
        transaction.set_rollback(True)
    assert not DelayedJob.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_task_is_written_at_once_even_with_enqueue_on_commit(settings):
    settings.DJANGO_DELAYED = {"ENQUEUE": "on_commit"}
    with transaction.atomic():
        result = tasks.add.enqueue(1)
        assert tasks.add.get_result(result.id) == result


def test_the_enqueue_of_a_task_takes_one_insert():
    with CaptureQueriesContext(connection) as queries:
        tasks.add.enqueue(1)
    assert [query["sql"].split()[0] for query in queries] == ["INSERT"]


@pytest.mark.django_db(transaction=True)
def test_a_task_is_enqueued_and_read_in_async_code(heard):
    async def enqueue():
        result = await tasks.add_async.aenqueue(1, second=2)
        assert await tasks.add_async.aget_result(result.id) == result
        await result.arefresh()
        return result

    result = async_to_sync(enqueue)()
    assert [entry[0] for entry in heard] == ["enqueued"]
    work_off()
    assert tasks.add_async.get_result(result.id).return_value == 3


def test_a_receiver_that_raises_does_not_make_the_caller_enqueue_again(caplog):
    def fail(**_):
        raise ZeroDivisionError

    task_enqueued.connect(fail)
    try:
        tasks.add.enqueue(1)
    finally:
        task_enqueued.disconnect(fail)
    assert DelayedJob.objects.count() == 1


def test_a_task_that_would_report_the_failure_of_a_report_has_failed(caplog):
    with reporting():
        result = tasks.add.enqueue(1)
    assert result.status == TaskResultStatus.FAILED
    assert "not enqueued" in result.errors[0].traceback
    assert result.errors[0].exception_class.__name__ == "DelayedError"
    with pytest.raises(TaskResultDoesNotExist):
        tasks.add.get_result(result.id)


def test_the_alias_of_a_backend_is_kept(settings):
    settings.TASKS = {
        "default": {"BACKEND": BACKEND, "QUEUES": []},
        "other": {"BACKEND": BACKEND, "QUEUES": []},
    }
    result = tasks.add.using(backend="other").enqueue(1)
    assert (result.backend, result.task.backend) == ("other", "other")
    result.refresh()
    direct = task_backends["other"].enqueue(tasks.add, (1,), {})
    assert (direct.backend, direct.task.backend) == ("other", "other")
    assert task_backends["other"].get_result(direct.id) == direct


# The backend itself


def test_the_backend_is_built_without_a_model_or_a_query():
    code = (
        "import sys, django_delayed.tasks as tasks;"
        "tasks.DelayedBackend('default', {'OPTIONS': {}}).validate_task;"
        "sys.exit('django_delayed.models' in sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"QUEUES": ["mail", "a,b"]}, "a name in QUEUES must have no comma"),
        ({"QUEUES": [3]}, "a name in QUEUES must be a string"),
        ({"OPTIONS": {"database": "x"}}, "DelayedBackend takes no OPTIONS; remove"),
    ],
)
def test_an_invalid_backend_is_reported_by_the_system_check(params, sentence):
    [message] = DelayedBackend("default", params).check()
    assert message.id == "django_delayed.E014"
    assert sentence in message.msg


def test_a_project_without_the_app_is_told_to_add_it(settings):
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_delayed"]
    [message] = DelayedBackend("default", {}).check()
    assert "INSTALLED_APPS" in message.msg


def test_a_queue_on_another_database_is_reported_by_the_system_check(settings, monkeypatch):
    settings.DJANGO_DELAYED = {"DATABASE": "other"}
    assert DelayedBackend("default", {}).check() == []
    monkeypatch.setitem(connections.settings, "other", connections.settings["default"])
    [message] = DelayedBackend("default", {}).check()
    assert message.id == "django_delayed.I015"
    assert "the queue is on 'other'" in message.msg
    settings.DJANGO_DELAYED = {"DATABASE": 5}
    assert DelayedBackend("default", {}).check() == []


def test_a_valid_backend_passes_the_system_check():
    assert DelayedBackend("default", {"QUEUES": ["default"]}).check() == []


def test_a_row_that_is_not_a_task_has_no_result():
    row = jobs.Plain.perform_later()
    with pytest.raises(TaskResultDoesNotExist):
        task_backends["default"].get_result(str(row.pk))


@pytest.mark.parametrize("id", ["", "123", "-1", "1.0", "abc", "²", "9" * 40, None, 3, "1; DROP TABLE"])
def test_an_unknown_id_has_no_result(id):
    with pytest.raises(TaskResultDoesNotExist):
        tasks.add.get_result(id)


@pytest.mark.parametrize(
    "payload",
    [
        "no json",
        {"job": "task"},
        {"job": "task", "args": [], "kwargs": {}},
        {"job": "task", "args": [], "kwargs": {}, "run_after": {"@type": "a moment"}},
    ],
)
def test_the_result_of_a_task_with_an_invalid_payload_can_be_asked_for(payload):
    row = write(payload, extras=2)
    try:
        result = task_backends["default"].get_result(row.pk)
    except TaskResultDoesNotExist:
        return
    assert result.status == TaskResultStatus.READY
