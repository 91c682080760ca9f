"""A task in a worker: its call, its context, its signals, its errors and its result."""

import logging
import sys
import traceback
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation
from django_delayed.exceptions import JobCancelled
from django_delayed.execution.settle import settle
from django_delayed.execution.stopping import Stop
from django_delayed.models import DelayedJob
from django_delayed.serialization.results import Kept
from django_delayed.tasks import DelayedBackend
from django_delayed.worker.outcome_json import dump_outcome, load_outcome
from tests.blog import tasks
from tests.blog.models import Post
from tests.blog.work import WORKER, claim, perform, perform_next, work_off, write
from tests.databases.test_statements import CONTROL
from tests.playground.processes import until
from tests.tasks.framework import LOGGER, Task, TaskResultStatus, task_finished, task_started

pytestmark = pytest.mark.django_db
transactional = pytest.mark.django_db(transaction=True)


@pytest.fixture
def settled(settings):
    """Enqueue a task that is tried once, and perform it. Returns its result."""
    settings.DJANGO_DELAYED = {"MAX_ATTEMPTS": 1}

    def perform(used, *args, **kwargs):
        result = used.enqueue(*args, **kwargs)
        perform_next()
        result.refresh()
        return result

    return perform


def test_a_task_is_performed_and_its_return_value_kept(settled, heard):
    result = settled(tasks.add, 1, second=2)
    assert (result.status, result.return_value, result.is_finished) == (TaskResultStatus.SUCCESSFUL, 3, True)
    assert (result.worker_ids, result.attempts, result.errors) == ([WORKER], 1, [])
    assert result.enqueued_at <= result.started_at == result.last_attempted_at <= result.finished_at
    row = DelayedJob.objects.get()
    assert row.state == "finished"
    assert row.expires_at == row.finished_at + timedelta(days=1)
    assert [entry[:3] for entry in heard] == [
        ("enqueued", DelayedBackend, TaskResultStatus.READY),
        ("started", DelayedBackend, TaskResultStatus.RUNNING),
        ("finished", DelayedBackend, TaskResultStatus.SUCCESSFUL),
    ]
    assert {entry[3].id for entry in heard} == {result.id}
    finished = heard[-1][3]
    assert (finished.return_value, finished.worker_ids, finished.task) == (3, [WORKER], tasks.add)
    assert finished.started_at <= finished.finished_at
    started = heard[1][3]
    assert (started.status, started.finished_at) == (TaskResultStatus.RUNNING, None)
    with pytest.raises(ValueError, match="has not finished"):
        _ = started.return_value


def test_a_result_is_also_announced_by_a_process_that_has_not_performed_its_task(heard):
    result = tasks.add.using(queue_name="images").enqueue(1, second=2)
    row = claim()
    said = dump_outcome(row, perform(row))
    theirs = DelayedJob.objects.get()
    settle([(theirs, load_outcome(theirs, said))])
    [_, (_, _, _, started), (_, sender, status, finished)] = heard
    assert (sender, status, finished.return_value) == (DelayedBackend, TaskResultStatus.SUCCESSFUL, 3)
    assert (finished.id, finished.task, finished.args, finished.kwargs) == (
        *(result.id, result.task, [1], {"second": 2}),
    )
    assert (finished.worker_ids, finished.errors) == ([WORKER], [])
    assert finished.started_at == started.started_at <= finished.finished_at


@transactional
@pytest.mark.parametrize("used", [tasks.add, tasks.add_async])
def test_a_task_may_be_async(settled, used):
    assert settled(used, 1, second=2).return_value == 3


@transactional
def test_an_async_task_has_the_connection_of_its_job(settled):
    Post.objects.create(title="a")
    assert settled(tasks.count_posts).return_value == 1


def test_a_task_of_django_tasks_is_one_of_djangos_where_django_has_them(settled, heard):
    result = settled(tasks.add_of_the_package, 1, 2)
    assert isinstance(tasks.add_of_the_package, Task)
    assert (result.return_value, result.task) == (3, tasks.add_of_the_package)
    assert DelayedJob.objects.get().priority == -7
    assert len(heard) == 3


def test_a_task_takes_only_its_insert_its_claim_and_one_update():
    tasks.add.enqueue(1, 2)
    row = claim()
    with CaptureQueriesContext(connection) as queries:
        outcome = perform(row)
        assert kinds_of(queries) == []
        settle([(row, outcome)])
    assert kinds_of(queries) == ["UPDATE"]


@pytest.mark.usefixtures("diary")
def test_the_failed_attempts_of_a_task_are_read_once():
    tasks.fail_then.enqueue("done")
    for _ in range(2):
        perform_next()
        DelayedJob.objects.run_now()
    row = claim()
    with CaptureQueriesContext(connection) as queries:
        settle([(row, perform(row))])
    assert kinds_of(queries) == ["SELECT", "UPDATE"]


def kinds_of(queries):
    """The first word of each statement."""
    return [query["sql"].split()[0] for query in queries if not query["sql"].startswith(CONTROL)]


def test_a_task_may_take_its_context(settled, diary):
    result = settled(tasks.look, 1, two=2)
    [(_, context)] = diary
    seen = context.task_result
    assert result.return_value == context.attempt == 1
    assert (seen.id, seen.status, seen.task, seen.args, seen.kwargs) == (
        *(result.id, TaskResultStatus.RUNNING, tasks.look, [1], {"two": 2}),
    )
    assert (seen.started_at, seen.last_attempted_at) == (result.started_at, result.last_attempted_at)
    assert (seen.enqueued_at, seen.finished_at, seen.worker_ids) == (result.enqueued_at, None, [WORKER])


@transactional
def test_an_async_task_may_take_its_context(settled):
    result = settled(tasks.look_async)
    assert result.return_value == result.id


def test_a_task_is_performed_in_the_language_and_time_zone_of_its_enqueue(settled):
    with translation.override("de"), timezone.override("Asia/Tokyo"):
        result = tasks.surroundings.enqueue()
    perform_next()
    result.refresh()
    assert result.return_value == ["de", "Asia/Tokyo"]


def test_a_private_function_may_be_a_task(settled):
    assert settled(tasks._private).return_value == "private"


# Errors


def test_a_task_that_raises_is_tried_again_and_keeps_each_error(diary, heard):
    result = tasks.fail_then.enqueue("done")
    for number in (1, 2):
        perform_next()
        result.refresh()
        assert (result.status, result.attempts, result.finished_at) == (TaskResultStatus.READY, number, None)
        DelayedJob.objects.run_now()
    perform_next()
    result.refresh()
    assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, "done")
    assert (result.attempts, result.worker_ids) == (3, [WORKER] * 3)
    first, second = result.errors
    assert first.exception_class is second.exception_class is tasks.Refused
    assert first.traceback == "Refused: attempt 1\n"
    assert second.traceback.startswith("Traceback (most recent call last):\n")
    assert second.traceback.endswith("Refused: attempt 2\n")
    assert result.started_at < result.last_attempted_at
    assert [entry[0] for entry in heard] == ["enqueued", "started", "started", "started", "finished"]
    assert [len(entry[3].errors) for entry in heard] == [0, 0, 1, 2, 2]
    assert [entry[3].attempts for entry in heard] == [0, 1, 2, 3, 3]
    assert len({entry[3].started_at for entry in heard[1:]}) == 1


def test_a_task_that_is_given_up_has_failed(settled, heard):
    result = settled(tasks.fail, "no luck")
    assert (result.status, result.is_finished, result.attempts) == (TaskResultStatus.FAILED, True, 1)
    [error] = result.errors
    assert error.exception_class is ValueError
    assert error.traceback.endswith("ValueError: no luck\n")
    with pytest.raises(ValueError, match="Task failed"):
        _ = result.return_value
    assert [entry[0] for entry in heard] == ["enqueued", "started", "finished"]
    finished = heard[-1][3]
    assert finished == result


def test_the_signal_about_a_failure_is_sent_while_its_error_is_the_current_exception(settled):
    seen = []

    def receive(task_result, **_):
        kind, error, trace = sys.exc_info()
        frames = [frame.name for frame in traceback.extract_tb(trace)]
        seen.append((kind, str(error), frames, task_result.status))

    task_finished.connect(receive)
    try:
        settled(tasks.fail, "no luck")
    finally:
        task_finished.disconnect(receive)
    assert seen == [(ValueError, "no luck", ["call", "fail"], TaskResultStatus.FAILED)]


def test_the_signals_of_a_task_are_logged_by_djangos_logger(settled, caplog):
    caplog.set_level(logging.DEBUG, LOGGER)
    succeeded, failed = settled(tasks.add, 1), settled(tasks.fail)
    records = [record for record in caplog.records if record.name == LOGGER]
    assert [(record.levelname, record.getMessage().partition(" state=")[2]) for record in records] == [
        *(("DEBUG", ""), ("INFO", "RUNNING"), ("INFO", "SUCCESSFUL")),
        *(("DEBUG", ""), ("INFO", "RUNNING"), ("ERROR", "FAILED")),
    ]
    assert all(f"id={succeeded.id} " in record.getMessage() for record in records[:3])
    assert all(f"id={failed.id} " in record.getMessage() for record in records[3:])
    assert records[-1].exc_info[0] is ValueError


@pytest.mark.parametrize(("how", "kind"), [("exit", SystemExit), ("interrupt", KeyboardInterrupt)])
def test_a_task_that_would_end_the_process_has_failed(settled, how, kind):
    result = settled(tasks.leave, how)
    assert result.status == TaskResultStatus.FAILED
    assert result.errors[0].exception_class is kind


def test_a_return_value_that_json_cannot_hold_fails_the_task(settled):
    result = settled(tasks.return_something_odd)
    assert result.status == TaskResultStatus.FAILED
    assert result.errors[0].exception_class is TypeError
    assert "Unsupported type" in result.errors[0].traceback


def test_a_return_value_that_is_too_large_fails_the_attempt(settings):
    result = tasks.add.enqueue("a" * 60, "b" * 60)
    settings.DJANGO_DELAYED = {"MAX_ARGUMENTS_SIZE": 100}
    perform_next()
    result.refresh()
    assert "it returned" in result.errors[0].traceback
    row = DelayedJob.objects.get()
    assert (row.state, row.result) == ("retrying", "")


def test_a_receiver_that_raises_changes_nothing(settled):
    def fail(**_):
        raise ZeroDivisionError

    for signal in (task_started, task_finished):
        signal.connect(fail)
    try:
        result = settled(tasks.add, 1)
    finally:
        for signal in (task_started, task_finished):
            signal.disconnect(fail)
    assert result.status == TaskResultStatus.SUCCESSFUL


def test_a_task_is_discarded_for_an_error_of_its_discard_on_and_its_result_is_gone(heard):
    result = tasks.discarding.enqueue("refused")
    perform_next()
    assert not DelayedJob.objects.exists()
    name, _, status, finished = heard[-1]
    assert (name, status, finished.id) == ("finished", TaskResultStatus.FAILED, result.id)
    assert finished.errors[0].exception_class is tasks.Refused
    assert (finished.attempts, finished.worker_ids) == (1, [WORKER])
    assert finished.finished_at is not None


def test_a_task_is_discarded_for_no_other_error():
    tasks.discarding.enqueue("value")
    perform_next()
    assert DelayedJob.objects.get().state == "retrying"


def test_a_task_that_an_operator_has_ended_has_failed_and_names_the_operator(heard):
    result = tasks.fail.enqueue()
    row = claim()
    settle([(row, perform(row, stop=Stop(is_cancelled=lambda: True, by=lambda: "ann")))])
    result.refresh()
    assert result.status == TaskResultStatus.FAILED
    [error] = result.errors
    assert error.exception_class is JobCancelled
    assert error.traceback.endswith("JobCancelled: Ended by ann.\n")
    name, _, status, finished = heard[-1]
    assert (name, status, finished.id) == ("finished", TaskResultStatus.FAILED, result.id)


def test_a_failed_task_that_is_not_kept_is_announced_too(settings, heard):
    settings.DJANGO_DELAYED = {"DESTROY_FAILED_JOBS": True, "MAX_ATTEMPTS": 1}
    tasks.fail.enqueue("no luck")
    perform_next()
    assert not DelayedJob.objects.exists()
    assert heard[-1][2] == TaskResultStatus.FAILED
    assert heard[-1][3].errors[0].traceback.endswith("no luck\n")


@transactional
@pytest.mark.slow
def test_an_async_task_that_runs_too_long_is_cancelled(diary, settled):
    result = settled(tasks.sleep_async)
    assert result.errors[0].exception_class.__name__ == "JobTimeout"
    until(lambda: diary == ["cancelled"])


# Tasks that have changed since their enqueue


def rename(**changes):
    """Let the row name another task."""
    row = DelayedJob.objects.get()
    for old, new in changes.items():
        DelayedJob.objects.update(payload=row.payload.replace(f"tests.blog.tasks:{old}", new))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tests.blog.tasks:gone", "does not exist"),
        ("tests.blog.tasks:Refused", "is no task"),
        ("tests.blog.missing:add", "cannot be imported"),
        ("tests.stranger:add", "nothing has imported it here"),
        ("os:system", "is no task"),
        ("tests.blog.tasks:add.func", "does not exist"),
        ("no name", "not the name of a task"),
    ],
)
def test_a_task_without_its_function_fails_at_once_and_says_so(heard, monkeypatch, name, message):
    monkeypatch.delitem(sys.modules, "tests.stranger", raising=False)
    result = tasks.add.enqueue(1)
    rename(add=name)
    perform_next()
    row = DelayedJob.objects.get()
    assert row.state == "failed"
    assert row.error_class in ("UnknownCode", "DeserializationError")
    assert message in row.last_error
    read = tasks.add.get_backend().get_result(result.id)
    assert (read.status, read.task.module_path) == (
        TaskResultStatus.FAILED,
        f"{name.partition(':')[0]}.{name.partition(':')[2]}",
    )
    with pytest.raises(Exception, match=message):
        read.task.call()
    assert heard[-1][0::2][:2] == ("finished", TaskResultStatus.FAILED)


def test_a_task_of_an_imported_module_outside_of_all_apps_is_performed(settled, monkeypatch):
    monkeypatch.setitem(sys.modules, "elsewhere", tasks)
    result = tasks.add.enqueue(1, 2)
    rename(add="elsewhere:add")
    perform_next()
    result.refresh()
    assert result.return_value == 3


def test_a_task_that_has_moved_is_found_by_its_alias(settings, settled):
    settings.DJANGO_DELAYED = {"ALIASES": {"tests.old:added": "tests.blog.tasks:add"}}
    result = tasks.add.enqueue(1, 2)
    rename(add="tests.old:added")
    perform_next()
    result.refresh()
    assert (result.return_value, result.task) == (3, tasks.add)


def test_a_task_that_is_still_there_is_not_looked_for_under_its_alias(settings, settled):
    settings.DJANGO_DELAYED = {"ALIASES": {"tests.blog.tasks:add": "tests.new:add"}}
    result = tasks.add.enqueue(1, 2)
    perform_next()
    result.refresh()
    assert result.return_value == 3


def test_a_task_is_performed_although_its_queue_is_no_longer_in_queues(settings):
    result = tasks.add.using(queue_name="old").enqueue(1, 2)
    settings.TASKS = {"default": {"BACKEND": "django_delayed.tasks.DelayedBackend"}}
    perform_next()
    result.refresh()
    assert (result.return_value, result.task.queue_name) == (3, "old")
    assert tasks.add.get_result(result.id) == result


def test_a_task_is_performed_although_its_alias_is_no_longer_in_tasks(settings, heard):
    backend = {"BACKEND": "django_delayed.tasks.DelayedBackend", "QUEUES": []}
    settings.TASKS = {"default": backend, "old": backend}
    result = tasks.add.using(backend="old").enqueue(1, 2)
    settings.TASKS = {"default": backend}
    perform_next()
    read = tasks.add.get_result(result.id)
    assert (read.return_value, read.backend) == (3, "old")
    assert len(heard) == 3


def test_a_task_with_arguments_that_no_longer_fit_fails_at_once():
    tasks.add.enqueue(1)
    row = DelayedJob.objects.get()
    DelayedJob.objects.update(payload=row.payload.replace('"args":[1]', '"args":[1,2,3]'))
    perform_next()
    assert DelayedJob.objects.get().error_message.startswith("The arguments of add no longer fit")


def test_a_row_without_its_task_fails():
    write({"job": "task"}, extras=2)
    perform_next()
    assert DelayedJob.objects.get().state == "failed"


# Without a worker


def test_with_delay_jobs_off_a_task_is_performed_at_once(settings, heard):
    settings.DJANGO_DELAYED = {"DELAY_JOBS": False}
    result = tasks.add.enqueue(1, 2)
    assert (result.status, result.return_value, result.attempts) == (TaskResultStatus.SUCCESSFUL, 3, 1)
    assert not DelayedJob.objects.exists()
    assert [entry[0::2][:2] for entry in heard] == [
        ("enqueued", TaskResultStatus.READY),
        ("started", TaskResultStatus.RUNNING),
        ("finished", TaskResultStatus.SUCCESSFUL),
    ]
    assert {entry[3].id for entry in heard} == {result.id}


def test_with_delay_jobs_off_an_error_reaches_the_caller(settings, heard):
    settings.DJANGO_DELAYED = {"DELAY_JOBS": False}
    with pytest.raises(ValueError, match="no luck"):
        tasks.fail.enqueue("no luck")
    assert heard[-1][2] == TaskResultStatus.FAILED
    with pytest.raises(KeyboardInterrupt):
        tasks.leave.enqueue("interrupt")
    assert heard[-1][3].errors[0].exception_class is KeyboardInterrupt
    with pytest.raises(SystemExit):
        tasks.leave.enqueue("exit")


def test_with_delay_jobs_off_a_task_that_is_discarded_has_failed(settings, heard):
    settings.DJANGO_DELAYED = {"DELAY_JOBS": False}
    result = tasks.discarding.enqueue("refused")
    assert result.status == heard[-1][2] == TaskResultStatus.FAILED
    assert result.errors == heard[-1][3].errors
    assert result.errors[0].exception_class is tasks.Refused
    assert result.attempts == 1


# Results


def test_a_result_is_kept_as_long_as_the_settings_say(settings):
    settings.DJANGO_DELAYED = {"RESULT_TTL": 60, "KEEP_FINISHED_FOR": 5}
    tasks.add.enqueue(1)
    settings.DJANGO_DELAYED = {"RESULT_TTL": 60, "KEEP_FINISHED_FOR": 120}
    tasks.add.enqueue(1)
    kept = DelayedJob.objects.order_by("pk").values_list("keep_for", flat=True)
    assert list(kept) == [timedelta(seconds=60), timedelta(seconds=120)]


def test_an_old_result_is_removed():
    result = tasks.add.enqueue(1)
    work_off()
    assert DelayedJob.objects.prune() == 0
    DelayedJob.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert DelayedJob.objects.prune() == 1
    with pytest.raises(Exception, match=result.id):
        result.refresh()


def test_a_task_of_a_batch_has_a_start_time_too():
    results = [tasks.add.enqueue(number) for number in range(3)]
    work_off()
    for result in results:
        result.refresh()
        assert result.enqueued_at <= result.started_at <= result.finished_at


def test_a_failed_task_that_is_retried_counts_all_attempts(settled):
    result = settled(tasks.fail)
    DelayedJob.objects.retry()
    result.refresh()
    assert (result.status, result.attempts, len(result.errors)) == (TaskResultStatus.READY, 1, 1)
    perform_next()
    result.refresh()
    assert (result.attempts, len(result.errors)) == (2, 2)


def test_attempts_that_are_not_kept_are_still_counted():
    result = tasks.fail.enqueue()
    for _ in range(12):
        perform_next()
        DelayedJob.objects.run_now()
    result.refresh()
    assert (result.attempts, len(result.errors)) == (12, 10)
    assert result.worker_ids == ["", "", *[WORKER] * 10]


def test_an_invalid_stored_result_is_read_as_an_empty_one():
    for text in ("", "{", "[1]", '{"value": 1, "other": 2}', '"x"'):
        assert Kept.load(text) == Kept()


def test_performing_a_task_does_not_write_its_result():
    tasks.add.enqueue(1)
    row = claim()
    outcome = perform(row)
    assert DelayedJob.objects.get().result == ""
    assert outcome.job.name == "add"
