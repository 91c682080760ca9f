"""The table in docs/guarantees.md: hosts whose clocks are wrong."""

import os
import time
from pathlib import Path

import pytest
from django.db import connection
from tests.faults.form import PATIENCE, form
from tests.playground.jobs import Work
from tests.playground.ledger import START
from tests.playground.processes import no_job_is_left, nothing_is_held, until

LIBRARY = os.environ.get("LIBFAKETIME") or next(
    map(str, Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None
)
LEASE = 2


def wrong_by(hours):
    """The environment of a host with a clock that is so many hours ahead."""
    return {"LD_PRELOAD": LIBRARY, "FAKETIME": f"{hours:+}h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


@pytest.mark.skipif(connection.vendor == "sqlite", reason="the clock of SQLite is that of each host")
@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed here (Debian: libfaketime)")
@pytest.mark.slow
@pytest.mark.fault("clocks two hours off")
def test_hosts_whose_clocks_are_wrong_start_nothing_early_and_take_nothing_away(hosts, ledger, figures):
    for hours in (2, -2, 0):
        hosts.start(environment=wrong_by(hours), delayed={"LEASE": LEASE})
    long = [Work.perform_later(str(ledger), 3 * LEASE) for _ in hosts.all]
    until(lambda: len(ledger.starts) == len(long))
    due, began = {}, time.monotonic_ns()
    for number in range(form(60, 1000)):
        wait = 2 + form(4, 6) * number / form(60, 1000)
        due[Work.set(wait=wait).perform_later(str(ledger)).pk] = began + int(wait * 1e9)
    until(no_job_is_left, PATIENCE)
    early = [entry.job for entry in ledger.of(START) if entry.at < due.get(entry.job, 0)]
    extra = ledger.starts.total() - len(due) - len(long)
    figures(jobs=len(due), long=len(long), early=len(early), extra=extra)
    assert early == []
    assert extra == 0
    assert hosts.said("no heartbeat|declared dead") == []
    assert set(hosts.stop()) == {0}
    assert nothing_is_held()
