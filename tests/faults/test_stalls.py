"""The table in docs/guarantees.md: processes that are suspended, and jobs that make them look suspended."""

import os
import signal

import pytest
from django.db import connection
from django_delayed import enqueue_all
from django_delayed.models import DelayedJob, WorkerProcess
from tests.faults.form import PATIENCE, about_processes, form
from tests.playground.jobs import HoldGil, SlowerAgain, SlowerAtomicWork, Work
from tests.playground.models import Effect
from tests.playground.processes import no_job_is_left, nothing_is_held, until

LEASE = 2
# A supervisor that has not checked for half a lease, as on a busy machine, waits for one more.
LEASE_OF_STALLED = 4
REFUSED = "lost its claim; its outcome is dropped"


def stall(hosts, ledger, count):
    """Suspend so many hosts, each in a job, until the job has started elsewhere; then let them go on."""
    struck = {}
    for _ in range(count):
        worker, job = hosts.suspend_one_in_a_job(*struck)
        struck[worker] = hosts.suspend_host_of(worker), job
    before, refused = ledger.starts, {host: len(host.said(REFUSED)) for host, _ in struck.values()}
    until(lambda: all(ledger.starts[job] > before[job] for _, job in struck.values()), PATIENCE)
    assert not WorkerProcess.objects.filter(pid__in=struck).exists()
    # The workers go on first: their supervisors will find out that they were declared dead, and replace them.
    for worker in struck:
        os.kill(worker, signal.SIGCONT)
    # Each is refused while the job runs elsewhere; the worker there is refused nothing.
    for host, times in refused.items():
        host.has_said(REFUSED, times + 1)
    for host, _ in struck.values():
        host.send(signal.SIGCONT)
    # Otherwise the next round could strike such a job again, and it would wait for half a minute.
    until(lambda: not DelayedJob.objects.filter(pk__in=[job for _, job in struck.values()]).exists())


def stall_again_and_again(hosts, ledger, figures, kind=SlowerAgain):
    """Suspend hosts several times, in jobs of this kind; the outcome of each suspended host is refused."""
    rounds, at_a_time = form(1, 10), form(2, 3)
    stops, jobs, rows = rounds * at_a_time, 40, []
    hosts.start(at_a_time + 1, delayed={"LEASE": LEASE_OF_STALLED})
    for _ in range(rounds):
        if len(rows) - len(ledger.effects) < jobs // 2:
            rows += enqueue_all([kind(str(ledger), 0.05) for _ in range(jobs)])
        stall(hosts, ledger, at_a_time)
    until(no_job_is_left, PATIENCE)
    refused, extra, doubled = len(hosts.said(REFUSED)), ledger.extra_starts(rows), Effect.doubled()
    of_atomic = {"doubled": len(doubled)} if kind.atomic else {}
    lost = (Effect if kind.atomic else ledger).lost(rows)
    figures(stops=stops, jobs=len(rows), lost=len(lost), extra=extra, refused=refused, **of_atomic)
    assert lost == set()
    assert doubled == []
    assert extra == refused == stops
    assert hosts.stop() == [0] * (at_a_time + 1)
    assert nothing_is_held()


@pytest.mark.slow
@pytest.mark.fault("SIGSTOP past the lease")
def test_what_comes_of_a_job_that_another_host_has_taken_over_is_refused(hosts, ledger, figures):
    stall_again_and_again(hosts, ledger, figures)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="nobody else writes while its writer is suspended")
@pytest.mark.slow
@pytest.mark.fault("SIGSTOP past the lease, atomic jobs")
def test_an_atomic_job_that_another_host_has_taken_over_writes_nothing(hosts, ledger, figures):
    stall_again_and_again(hosts, ledger, figures, SlowerAtomicWork)


@about_processes
@pytest.mark.slow
@pytest.mark.fault("long jobs")
def test_a_worker_is_not_declared_dead_while_its_job_takes_five_leases_or_holds_the_gil(
    hosts, ledger, figures
):
    rows = [
        Work.perform_later(str(ledger), 5 * LEASE),
        HoldGil.perform_later(str(ledger), 5 * LEASE),
    ]
    hosts.start(len(rows), delayed={"LEASE": LEASE})
    until(lambda: len(ledger.starts) == len(rows))
    hungry = hosts.start(form(1, 3), delayed={"LEASE": LEASE})
    until(no_job_is_left, PATIENCE)
    figures(jobs=len(rows), hungry=len(hungry), lost=len(ledger.lost(rows)), extra=ledger.extra_starts(rows))
    assert ledger.lost(rows) == set()
    assert ledger.extra_starts(rows) == 0
    assert hosts.said("no heartbeat") == []
    assert set(hosts.stop()) == {0}
    assert nothing_is_held()
