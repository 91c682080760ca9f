"""The database does not answer, for a while or for ever: the supervisor still hears signals."""

import json
import signal
import socket
import time

import pytest
from django.db import connection
from django_delayed.models import DelayedJob
from tests.playground.jobs import Gated, LeaveThread, Note
from tests.playground.network import at_port
from tests.playground.processes import no_job_is_left, nothing_is_held, until

TABLES = ("django_delayed_delayedjob", "django_delayed_workerprocess", "django_delayed_failedattempt")
on_a_server = pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no server to wait for")
QUICK = {"SHUTDOWN_TIMEOUT": 0.5, "LEASE": 3}


@pytest.fixture
def locked():
    """Lock the tables as DDL does, until the end of the test or until `locked.release()`."""

    class Lock:
        def acquire(self):
            self.connection = connection.copy()
            self.connection.set_autocommit(False)
            with self.connection.cursor() as cursor:
                if connection.vendor == "postgresql":
                    cursor.execute(f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE")
                else:
                    cursor.execute(f"LOCK TABLES {', '.join(f'{table} WRITE' for table in TABLES)}")

        def release(self):
            self.connection.close()

    lock = Lock()
    yield lock
    lock.release()


@on_a_server
@pytest.mark.parametrize("signals", [1, 2])
def test_a_supervisor_ends_in_time_while_its_tables_are_locked(work, ledger, locked, signals):
    worker = work(delayed=QUICK)
    job = Gated.perform_later(str(ledger), str(ledger.gate))
    ledger.has(f"begin {job.pk}")
    locked.acquire()
    time.sleep(1)  # until its next heartbeat waits for the lock
    for _ in range(signals):
        worker.send(signal.SIGTERM)
    assert worker.ends() == 0
    locked.release()
    assert DelayedJob.objects.get().attempts == 1  # it is held until another supervisor releases it


@on_a_server
def test_a_supervisor_whose_tables_were_locked_for_a_while_goes_on(work, ledger, locked):
    worker = work(delayed={"LEASE": 2})
    Note.perform_later(str(ledger), "before")
    ledger.has("before")
    locked.acquire()
    time.sleep(1)
    locked.release()
    Note.perform_later(str(ledger), "after")
    ledger.has("after")
    until(no_job_is_left)
    assert worker.stop() == 0
    assert nothing_is_held()


@on_a_server
def test_a_supervisor_ends_in_time_when_the_network_falls_silent(work, ledger, network):
    worker = work(delayed=QUICK, environment=network.environment)
    Note.perform_later(str(ledger), "before")
    ledger.has("before")
    network.fall_silent()
    time.sleep(1)  # until its next heartbeat gets no answer
    assert worker.stop() == 0


@pytest.mark.skipif(connection.vendor != "postgresql", reason="Django has a pool for PostgreSQL only")
def test_a_supervisor_ends_in_time_while_its_pool_waits_for_a_connection(work, ledger, network):
    pool = {"pool": {"min_size": 1, "max_size": 1, "timeout": 120}}
    environment = network.environment | {"DATABASE_OPTIONS": json.dumps(pool)}
    worker = work(delayed=QUICK, environment=environment)
    Note.perform_later(str(ledger), "before")
    ledger.has("before")
    network.close()
    time.sleep(1)  # until its next heartbeat finds the pool empty
    assert worker.stop() == 0


@on_a_server
def test_a_supervisor_waits_for_a_database_that_is_not_there_yet(work, ledger):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    worker = work(environment=at_port(port))
    worker.has_said("The database is unavailable, trying again in", times=2)
    assert worker.stop() == 0
    assert not worker.said("Traceback")


def test_a_worker_that_a_thread_of_a_job_keeps_from_ending_is_ended(work, ledger):
    worker = work("--sleep-delay", "0")
    LeaveThread.perform_later(str(ledger))
    ledger.has("left")
    assert worker.ends() == 0
    assert worker.said(
        r"Jobs have left threads running, which keep the worker from ending: \['left behind'\]"
    )
    assert worker.said("has stopped working and does not end; ending it")
    assert nothing_is_held()
