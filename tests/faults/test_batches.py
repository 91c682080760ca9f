"""The table in docs/guarantees.md: batches of short jobs, which are settled together, and their ledger."""

import os
import signal

import pytest
from django_delayed import enqueue_all
from django_delayed.conf import settings
from tests.faults.form import IS_LONG, PATIENCE, form
from tests.faults.test_kills import storm
from tests.faults.test_lost_answers import MOVE, lose_answers, on_a_server
from tests.playground.jobs import Work
from tests.playground.processes import no_job_is_left, nothing_is_held, until

# A claim of more than one row has a transaction.
COMMIT_OF_CLAIM = "COMMIT"


@pytest.mark.slow
@pytest.mark.fault("kills in batches")
def test_a_worker_that_is_killed_in_a_batch_repeats_nothing_but_the_job_that_it_was_in(
    hosts, ledger, figures
):
    size = {"jobs": form(2000, 40_000), "workers": form(2, 4), "kills": form(2, 50)}
    storm(hosts, ledger, figures, **size, ms=[2])


@pytest.mark.slow
@pytest.mark.fault("hosts lost in batches")
def test_a_host_that_is_lost_in_a_batch_repeats_at_most_the_batch(hosts, ledger, figures):
    jobs, lost = form(1500, 40_000), form(1, 20)
    rows = enqueue_all([Work(str(ledger), 0.001) for _ in range(jobs)])
    hosts.start(2, delayed={"LEASE": 2})
    for strike in range(lost):
        done = jobs * strike // (lost + 1)
        until(lambda done=done: len(ledger.effects) >= done, PATIENCE)
        worker, _ = hosts.suspend_one_in_a_job()
        host = hosts.suspend_host_of(worker)
        os.kill(worker, signal.SIGKILL)
        os.kill(host.pid, signal.SIGKILL)
        host.process.wait()
        hosts.start(delayed={"LEASE": 2})
    until(no_job_is_left, PATIENCE)
    extra = ledger.extra_starts(rows)
    figures(jobs=jobs, hosts=lost, lost=len(ledger.lost(rows)), extra=extra)
    assert ledger.lost(rows) == set()
    assert extra <= lost * settings.READ_AHEAD
    hosts.stop()
    assert nothing_is_held()


@on_a_server
@pytest.mark.slow
@pytest.mark.fault("lost answers in batches")
def test_an_answer_that_is_lost_to_a_claim_or_a_batch_costs_no_job_and_no_second_start(
    hosts, ledger, network, figures
):
    lose_answers(hosts, ledger, network, figures, (MOVE, COMMIT_OF_CLAIM), form(4, 100), 100)


@pytest.mark.slow
@pytest.mark.fault("short jobs beside long ones")
def test_short_jobs_do_not_wait_for_a_long_one_that_was_claimed_with_them(hosts, ledger, figures):
    longs, shorts = form(2, 30), 300
    started = hosts.start(2)
    hosts.are_at_work(started, lambda: enqueue_all([Work(str(ledger)) for _ in range(shorts)]))
    until(no_job_is_left)
    slowest = []
    for _ in range(longs):
        # The batches have grown when the long job comes.
        rows = enqueue_all([Work(str(ledger), 0 if number != shorts // 2 else 2) for number in range(shorts)])
        until(no_job_is_left, PATIENCE)
        at = {(entry.what, entry.job): entry.at for entry in ledger.entries}
        long = rows[shorts // 2].pk
        began, ended = at["start", long], at["effect", long]
        last = max(at["effect", row.pk] for row in rows if row.pk != long)
        assert last < ended
        slowest.append((last - began) / 1e6)
    figures(longs=longs, shorts=longs * shorts, slowest_ms=round(max(slowest)))
    assert not IS_LONG or sorted(slowest)[len(slowest) // 2] <= 250
    assert set(hosts.stop()) == {0}
    assert nothing_is_held()
