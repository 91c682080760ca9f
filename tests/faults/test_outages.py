"""The table in docs/guarantees.md: a database that goes away under load, and comes back."""

import time
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connection
from django_delayed import enqueue_all
from django_delayed.models import WorkerProcess
from tests.connections import end_all_connections
from tests.faults.form import IS_LONG, PATIENCE, form
from tests.playground.hosts import cpu_seconds, processes_of
from tests.playground.jobs import Work
from tests.playground.ledger import START
from tests.playground.processes import no_job_is_left, nothing_is_held, until
from tests.playground.servers import OF_THE_VENDOR

UNAVAILABLE = "The database is unavailable, trying again in"

pytestmark = [
    pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no server to go away"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def installed():
    """A server that belongs to the tests, and that they may stop."""
    if not OF_THE_VENDOR.is_installed():
        pytest.skip("the programs of the server are not installed here")
    server = OF_THE_VENDOR()
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def server(installed, work):
    # This fixture comes after `work`, because `work` has asked for the database of the tests.
    with installed.in_use():
        yield installed


class Load:
    """Work for hosts while faults happen, and its results."""

    def __init__(self, hosts, ledger, figures):
        self.hosts, self.ledger, self.figures = hosts, ledger, figures
        self.rows = []

    def start(self, **options):
        self.go_on()
        self.hosts.start(form(1, 4), **options)
        self.is_performed(10)

    def go_on(self):
        self.rows += enqueue_all([Work(str(self.ledger), 0.005) for _ in range(form(100, 1000))])

    def is_performed(self, more):
        """Wait until so many more jobs are performed."""
        reached = len(self.ledger.effects) + more
        until(lambda: len(self.ledger.effects) >= min(reached, len(self.rows)), PATIENCE)

    def everybody_has_noticed(self, times=1):
        """Wait until all processes have said that the database is unavailable."""
        for host in self.hosts.all:
            host.has_said(UNAVAILABLE, times=2 * times)

    def ends_well(self, **figures):
        until(no_job_is_left, PATIENCE)
        lost, extra = self.ledger.lost(self.rows), self.ledger.extra_starts(self.rows)
        self.figures(jobs=len(self.rows), **figures, lost=len(lost), extra=extra)
        assert lost == set()
        assert extra == 0
        assert self.hosts.said("Traceback|exit code") == []
        assert set(self.hosts.stop()) == {0}
        assert nothing_is_held()


@pytest.fixture
def load(hosts, ledger, figures):
    return Load(hosts, ledger, figures)


@pytest.mark.fault("connections ended")
def test_no_worker_ends_and_no_job_is_lost_when_all_connections_are_ended_again_and_again(load):
    load.start()
    times = form(3, 10)
    for _ in range(times):
        assert end_all_connections()
        load.go_on()
        load.is_performed(20)
    load.ends_well(ended=times)


@pytest.mark.fault("restarts of the server")
def test_no_worker_ends_and_no_job_is_lost_when_the_server_crashes_again_and_again(load, server):
    load.start(environment=server.environment)
    times = form(2, 6)
    for _ in range(times):
        connection.close()
        server.crash()
        server.start()
        load.go_on()
        load.is_performed(20)
    load.ends_well(restarts=times)


@pytest.mark.fault("server down")
def test_hosts_wait_for_a_server_that_is_down_and_go_on_when_it_is_back(load, server):
    load.start(environment=server.environment)
    load.go_on()
    connection.close()
    server.stop()
    load.everybody_has_noticed(times=2)
    pids = processes_of(load.hosts.all)
    began, used, seconds = time.monotonic(), cpu_seconds(pids), form(3, 60)
    time.sleep(seconds)
    share = (cpu_seconds(pids) - used) / (time.monotonic() - began)
    server.start()
    assert not IS_LONG or share < 0.02
    load.ends_well(processes=len(pids), down=seconds, cpu=f"{share:.1%}")


@contextmanager
def read_only(server):
    server.refuse_writes(True)
    yield
    server.refuse_writes(False)


@pytest.mark.fault("read-only")
def test_hosts_wait_while_nothing_can_be_written(load, server):
    load.start(environment=server.environment)
    load.go_on()
    with read_only(server):
        load.everybody_has_noticed()
        time.sleep(form(0, 20))
    load.ends_well(seconds_of_it=form(0, 20))


@pytest.mark.fault("connections full")
def test_hosts_wait_while_the_server_has_no_connection_left(load, server):
    load.start(environment=server.environment)
    load.go_on()
    taken = server.take_all_connections()
    for _ in range(3):
        # A worker may be the first to take a connection that the server has ended.
        end_all_connections(*taken)
        taken += server.take_all_connections()
    load.everybody_has_noticed()
    time.sleep(form(0, 20))
    for one in taken:
        one.close()
    load.ends_well(taken=len(taken))


@pytest.mark.fault("silent network")
def test_what_a_host_does_behind_a_silent_network_is_done_by_another(hosts, ledger, network, figures):
    lease = 2
    how = {"LEASE": lease, "SHUTDOWN_TIMEOUT": 0.5}
    stopped, cut_off = hosts.start(2, environment=network.environment, delayed=how)
    rows = enqueue_all([Work(str(ledger), 0.2) for _ in range(20)])
    until(lambda: len({entry.pid for entry in ledger.of(START)}) == 2)
    network.fall_silent()
    # Wait until the next heartbeat of both is lost; then a new host declares them dead.
    until(lambda: WorkerProcess.objects.stale(timedelta(seconds=lease / 2)).count() == 2)
    [other] = hosts.start(delayed=how)
    assert stopped.stop() == 0
    until(no_job_is_left, PATIENCE)
    time.sleep(form(0, 60))
    network.speak()
    cut_off.has_said("declared dead")
    rows += enqueue_all([Work(str(ledger), 0.01) for _ in range(20)])
    until(no_job_is_left, PATIENCE)
    lost, extra = ledger.lost(rows), ledger.extra_starts(rows)
    figures(jobs=len(rows), seconds_of_it=form(0, 60), lost=len(lost), extra=extra)
    assert lost == set()
    assert extra <= 2
    assert (cut_off.stop(), other.stop()) == (0, 0)
    assert nothing_is_held()
