"""Tasks in workers that are processes of their own."""

import json
import signal

import pytest
from django_delayed.models import DelayedJob
from tests.playground import tasks
from tests.playground.processes import command, ledger, nothing_is_held, until, work
from tests.tasks.framework import LOGGER, TaskResultStatus

__all__ = ["command", "ledger", "work"]
pytestmark = pytest.mark.django_db(transaction=True)


def finishes(result):
    """Wait for the end of the task. Returns its result."""

    def is_finished():
        result.refresh()
        return result.is_finished

    until(is_finished)
    return result


def test_jobs_workoff_performs_tasks_and_keeps_their_results(command, ledger):
    results = [tasks.add.enqueue(str(ledger), 1, second) for second in range(20)]
    run = command("jobs_workoff", "--fail-on-error")
    assert run.ends() == 0
    for second, result in enumerate(results):
        result.refresh()
        assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, 1 + second)
        assert result.enqueued_at <= result.started_at <= result.finished_at
    [worker] = {worker for result in results for worker in result.worker_ids}
    assert len(worker) == 32
    assert "20 jobs performed" in run.output
    assert nothing_is_held()


def test_a_worker_tries_a_task_again_and_each_attempt_has_its_worker(work, ledger):
    result = tasks.fail_once.enqueue(str(ledger))
    first = work()
    ledger.has("attempt 1")
    until(lambda: DelayedJob.objects.retrying().exists())
    assert first.stop() == 0
    second = work()
    DelayedJob.objects.run_now()
    finishes(result)
    assert result.return_value == result.worker_ids
    assert len(set(result.worker_ids)) == 2
    assert result.errors[0].exception_class is ConnectionError
    assert second.stop() == 0


def test_a_worker_goes_on_after_a_task_that_would_end_it(work, ledger):
    left, added = tasks.leave.enqueue(str(ledger)), tasks.add.enqueue(str(ledger), 1, 2)
    worker = work()
    child = worker.child
    assert finishes(added).return_value == 3
    assert finishes(left).errors[0].exception_class is SystemExit
    assert worker.child == child
    assert worker.stop() == 0


def test_a_task_that_kills_its_worker_has_failed_and_the_supervisor_logs_it(work, ledger):
    handlers = {"handlers": {"out": {"class": "logging.StreamHandler"}}}
    loggers = {
        "loggers": {name: {"handlers": ["out"], "level": "INFO"} for name in ("django_delayed", LOGGER)}
    }
    result = tasks.die.enqueue(str(ledger))
    worker = work(environment={"LOGGING": json.dumps({"version": 1, **handlers, **loggers})})
    finishes(result)
    [error] = result.errors
    assert error.exception_class.__name__ == "WorkerCrashed"
    assert (result.attempts, result.status) == (1, TaskResultStatus.FAILED)
    worker.has_said(rf"Task id={result.id} path=tests\.playground\.tasks\.die state=FAILED")
    assert worker.stop() == 0


def test_an_async_task_is_cancelled_when_its_process_is_told_to_stop_at_once(command, ledger):
    result = tasks.sleep_async.enqueue(str(ledger))
    run = command("jobs_workoff")
    ledger.has("sleep")

    def is_cancelled():
        # Repeated: two signals at once may become one, and the one that the loop's thread gets wakes nobody.
        run.send(signal.SIGINT)
        return "cancelled" in ledger.lines

    until(is_cancelled)
    run.ends()
    result.refresh()
    assert (result.status, result.attempts) == (TaskResultStatus.READY, 0)


def test_an_invalid_backend_is_reported_by_check(command):
    wrong = command("check", environment={"TASKS": json.dumps({"QUEUES": ["a,b"]})})
    assert wrong.ends() == 1
    assert wrong.said(r"\(django_delayed\.E014\) TASKS\['default'\]: a name in QUEUES must have no comma")
    assert command("check").ends() == 0
