"""The table in docs/guarantees.md: hosts that are told to stop in the middle of their work."""

import signal
import time

import pytest
from django_delayed import enqueue_all
from django_delayed.models import DelayedJob, FailedAttempt
from tests.faults.form import IS_LONG, PATIENCE, form
from tests.playground.jobs import Work
from tests.playground.processes import no_job_is_left, nothing_is_held, until

TIMEOUT = 1
# Seconds that the jobs of a cycle take; the last one outlasts a stop.
LONG_AND_SHORT = (0.3, 0.01, 0.1, 0.01, 0.1, 2)


@pytest.mark.slow
@pytest.mark.fault("SIGTERM under load")
def test_a_stop_under_load_ends_in_time_and_spends_no_attempt(hosts, ledger, figures):
    cycles, workers, rows, slowest = form(3, 20), form(2, 3), [], 0.0

    def enqueue():
        rows.extend(enqueue_all([Work(str(ledger), seconds) for seconds in LONG_AND_SHORT]))

    for _ in range(cycles):
        enqueue()
        started = hosts.start(workers, delayed={"SHUTDOWN_TIMEOUT": TIMEOUT})
        hosts.are_at_work(started, enqueue)
        began = time.monotonic()
        for host in started:
            host.send(signal.SIGTERM)
        assert [host.ends() for host in started] == [0] * workers
        slowest = max(slowest, time.monotonic() - began)
        assert nothing_is_held()
        assert set(DelayedJob.objects.values_list("attempts", "crashes")) <= {(0, 0)}
    last = hosts.start(workers)
    until(no_job_is_left, PATIENCE)
    figures(
        cycles=cycles,
        jobs=len(rows),
        lost=len(ledger.lost(rows)),
        released=ledger.extra_starts(rows),
        slowest=round(slowest, 1),
    )
    assert ledger.lost(rows) == set()
    assert not FailedAttempt.objects.exists()
    assert not IS_LONG or slowest <= TIMEOUT + 3
    assert {host.stop() for host in last} == {0}
    assert nothing_is_held()
