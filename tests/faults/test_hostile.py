"""The table in docs/guarantees.md: jobs that change their process, and what the next ones find."""

import signal

import pytest
from django_delayed import enqueue_all
from django_delayed.models import DelayedJob
from tests.faults.form import PATIENCE, about_processes, form
from tests.playground.hostile import HOSTILE, Hostile, Probe
from tests.playground.processes import until


@about_processes
@pytest.mark.slow
@pytest.mark.fault("hostile jobs")
def test_the_jobs_after_a_hostile_one_find_the_process_as_the_first_one_did(hosts, ledger, figures):
    times = form(3, 100)
    for name in HOSTILE:
        enqueue_all([Probe(str(ledger)), Hostile(str(ledger), name)])
        enqueue_all([Probe(str(ledger)) for _ in range(times - 1)])
    [host] = hosts.start()
    until(lambda: not DelayedJob.objects.exclude(name="Hostile").exists(), PATIENCE)
    found = [line for line in ledger.lines if line.startswith("found")]
    assert [line.split(maxsplit=1)[1] for line in ledger.lines if line.startswith("hostile")] == [*HOSTILE]
    figures(hostile=len(HOSTILE), probes=len(found), clean=sum(line == found[0] for line in found))
    assert len(found) == times * len(HOSTILE)
    assert {*found} == {found[0]}
    # SIGQUIT is heard although one of them has replaced its handler, and SIGTERM is heard too.
    child = host.child
    host.send(signal.SIGQUIT, to=child)
    host.has_said("most recent call first")
    assert host.stop() == 0
