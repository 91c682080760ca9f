"""The table in docs/guarantees.md: hosts that are told to stop in the middle of their work."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django_delayed import enqueue_all
from django_delayed.models import DelayedJob, FailedAttempt
from tests.faults.form import IS_LONG, PATIENCE, about_processes, form
from tests.playground.hosts import processes_of
from tests.playground.jobs import LeaveOrphan, Told, Work
from tests.playground.processes import MANAGE, children_of, no_job_is_left, nothing_is_held, until

TIMEOUT = 1
# Seconds that the jobs of a cycle take; the last one outlasts a stop.
LONG_AND_SHORT = (0.3, 0.01, 0.1, 0.01, 0.1, 2)


@pytest.mark.slow
@pytest.mark.fault("SIGTERM under load")
def test_a_stop_under_load_ends_in_time_and_spends_no_attempt(hosts, ledger, figures):
    cycles, workers, rows, slowest = form(1, 20), form(2, 3), [], 0.0

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


@about_processes
@pytest.mark.slow
@pytest.mark.fault("SIGTERM to every process, again and again")
def test_a_stop_that_every_process_hears_several_times_lets_the_current_jobs_end(hosts, ledger, figures):
    cycles, signals, rows = form(1, 20), 5, []
    for _ in range(cycles):
        [host] = hosts.start(1, "--processes", "2")
        current = enqueue_all([Told(str(ledger), str(ledger.gate)) for _ in range(2)])
        rows += current
        for row in current:
            ledger.has(f"begin {row.pk}")
        # Heroku sends SIGTERM again and again; systemd sends SIGCONT after it, to a whole control group.
        processes = processes_of([host])
        for _ in range(signals):
            for number in (signal.SIGTERM, signal.SIGCONT):
                for pid in processes:
                    host.send(number, to=pid)
        for row in current:
            ledger.has(f"told {row.pk}")
        ledger.open_gate()
        assert host.ends() == 0
        assert [f"end {row.pk}" for row in current if f"end {row.pk}" not in ledger.lines] == []
        assert no_job_is_left()
        assert nothing_is_held()
        ledger.gate.unlink()
    begun = sum(line.startswith("begin") for line in ledger.lines)
    figures(cycles=cycles, signals=signals * cycles, jobs=len(rows), lost=0, extra=begun - len(rows))
    assert begun == len(rows)
    assert not FailedAttempt.objects.exists()


def can_be_first():
    """Whether a process can be started here as the first one of a namespace, as in a container."""
    if not shutil.which("unshare"):
        return False
    return subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True).returncode == 0


@about_processes
@pytest.mark.slow
@pytest.mark.skipif(not can_be_first(), reason="cannot create a PID namespace here")
@pytest.mark.fault("first process of a container")
def test_the_first_process_of_a_container_reaps_what_jobs_leave_behind_and_can_be_stopped(
    work, ledger, figures
):
    orphans = form(5, 200)
    rows = enqueue_all([LeaveOrphan(str(ledger)) for _ in range(orphans)])
    # `unshare` passes no signal on, and ends when the program that it has started ends.
    run = work(start_with=("unshare", "--pid", "--fork", "--kill-child", sys.executable, MANAGE))
    run.has_said("Worker [0-9a-f]{32} started")
    [first] = children_of(run.pid)
    run.children.update([first, *children_of(first)])
    assert "NSpid:" in (known := Path(f"/proc/{first}/status").read_text())
    assert known.partition("NSpid:")[2].split()[1] == "1"
    # An orphan writes this line at its end.
    for row in rows:
        ledger.has(f"orphan {row.pk}")
    until(lambda: len(children_of(first)) == 1, PATIENCE)
    figures(orphans=orphans, left=len(children_of(first)) - 1)
    os.kill(first, signal.SIGTERM)
    assert run.ends() == 0
    assert nothing_is_held()
