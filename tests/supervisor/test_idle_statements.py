"""How many statements a supervisor and its idle worker make on average."""

import pytest
from django.db import connection
from django_delayed.supervisor.process import Process
from django_delayed.supervisor.supervisor import Supervisor
from django_delayed.worker.activity import Activity
from django_delayed.worker.configuration import Configuration
from django_delayed.worker.heartbeat import register
from django_delayed.worker.shutdown import Shutdown
from django_delayed.worker.worker import Worker
from tests.connections import wrapped

W1 = "1" * 32
# Statements that control transactions; only some databases show them.
CONTROL = ("BEGIN", "SAVEPOINT", "RELEASE")
# A PeriodicTask is early by up to a fifth, at random.
EARLY = 0.9

pytestmark = pytest.mark.django_db(transaction=True)


def statements_of(function):
    statements = []

    def note(execute, sql, *how):
        if not sql.startswith(CONTROL):
            statements.append(sql)
        return execute(sql, *how)

    with wrapped(note):
        function()
    return len(statements)


@pytest.fixture
def tasks(runs, wakeup):
    """The periodic tasks of a supervisor with one worker."""
    runs("pass")
    register(W1, Configuration())
    supervisor = Supervisor([Configuration()], check=lambda: None)
    supervisor.managers[0]._worker = W1
    process = Process(W1, Configuration(), wakeup.fd)
    yield [*supervisor.database._tasks, *process.tasks]
    process._popen.kill()
    process._popen.wait()
    process.close()
    supervisor.wakeup.close()


@pytest.fixture
def naps(wakeup):
    """Let an idle worker sleep so many times, without any time passing."""

    def sleep(times):
        activity, left = Activity(), [None] * times
        with Shutdown() as shutdown:
            worker = Worker(W1, Configuration(), wakeup, shutdown, activity)

            def wake(seconds, is_one_due):
                left.pop()
                if not left:
                    shutdown.request()

            worker._waiting._idle.sleep = wake
            worker.run()
        activity.close()

    return sleep


@pytest.mark.skipif(connection.vendor == "mysql", reason="an idle worker looks for rows five times a second")
def test_a_supervisor_with_an_idle_worker_asks_less_than_one_statement_a_second(tasks, naps):
    of_supervisor = sum(statements_of(task.function) / (EARLY * task.every) for task in tasks)
    of_worker = statements_of(lambda: naps(10)) / 10 / Configuration().sleep_delay.total_seconds()
    assert of_worker == 0.2
    assert of_supervisor + of_worker < 1
