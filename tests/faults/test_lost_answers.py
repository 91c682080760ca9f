"""The table in docs/guarantees.md: the answer to a statement is lost with its connection."""

import pytest
from django.db import connection
from django_delayed import enqueue_all
from django_delayed.models import DelayedJob
from tests.faults.form import PATIENCE, form
from tests.playground.jobs import AtomicWork, Work, WorkAgain
from tests.playground.models import Effect
from tests.playground.network import COMMIT_OF_JOB
from tests.playground.processes import no_job_is_left, nothing_is_held, until

MOVE = "DELETE FROM delayedjob"
SETTLE_AND_CLAIM = "WITH removed delayedjob"
# Statements that a worker and its supervisor cannot do without; the answer to each is lost at least once.
EACH = {
    *("INSERT INTO workerprocess", "UPDATE workerprocess", "COMMIT", "UPDATE delayedjob"),
    *(
        MOVE,
        "INSERT INTO failedattempt",
        "DELETE FROM failedattempt",
        "SELECT delayedjob",
    ),
    *{"postgresql": ("WITH RECURSIVE", "WITH picked delayedjob")}.get(connection.vendor, ()),
}

on_a_server = pytest.mark.skipif(
    connection.vendor == "sqlite", reason="SQLite has no connection that can lose an answer"
)


@on_a_server
@pytest.mark.slow
@pytest.mark.fault("lost answers")
def test_an_answer_that_is_lost_costs_no_job_and_no_second_start(hosts, ledger, network, figures):
    answers = form(20, 200)
    network.lose_answers(answers // 10)
    [host] = hosts.start(environment=network.environment, delayed={"LEASE": 5})
    rows = []

    def all_were_lost():
        # A worker that looks for jobs again and again makes each of these statements.
        if DelayedJob.objects.count() < 5:
            rows.extend(enqueue_all([kind(str(ledger), 0.001) for kind in (Work, WorkAgain)]))
        return network.lost.keys() >= EACH and network.lost.total() >= answers

    until(all_were_lost, PATIENCE)
    until(no_job_is_left, PATIENCE)
    again = {row.pk for row in rows if ledger.starts[row.pk] != 1 + (row.name == "WorkAgain")}
    figures(
        answers=network.lost.total(),
        kinds=len(network.lost),
        jobs=len(rows),
        lost=len(ledger.lost(rows)),
        extra=len(again),
    )
    assert ledger.lost(rows) == set()
    assert again == set()
    assert host.process.poll() is None
    assert hosts.stop() == [0]
    assert nothing_is_held()


def lose_answers(hosts, ledger, network, figures, kinds, times, jobs, *arguments):
    """Lose so many answers of each kind: no job is lost or started again. `jobs` are enqueued at a time."""
    network.lose_answers(times, only=kinds)
    [host] = hosts.start(1, *arguments, environment=network.environment)
    rows = []

    def all_were_lost():
        # After each lost answer the worker pauses, so there are no more lost answers than batches.
        if DelayedJob.objects.count() < jobs // 2:
            rows.extend(enqueue_all([Work(str(ledger)) for _ in range(jobs)]))
        return [network.lost[kind] for kind in kinds] == [times] * len(kinds)

    until(all_were_lost, PATIENCE)
    until(no_job_is_left, PATIENCE)
    extra = ledger.extra_starts(rows)
    figures(answers=network.lost.total(), jobs=len(rows), lost=len(ledger.lost(rows)), extra=extra)
    assert ledger.lost(rows) == set()
    assert extra == 0
    assert host.said("lost its claim") == []
    assert host.process.poll() is None
    assert hosts.stop() == [0]
    assert nothing_is_held()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="Only there is it one statement")
@pytest.mark.slow
@pytest.mark.fault("lost answers, batching off")
def test_an_answer_that_is_lost_to_a_claim_that_settles_too_costs_no_job_and_no_second_start(
    hosts, ledger, network, figures
):
    kinds, times = (SETTLE_AND_CLAIM,), form(4, 100)
    lose_answers(hosts, ledger, network, figures, kinds, times, 10, "--read-ahead", 1)


@on_a_server
@pytest.mark.slow
@pytest.mark.fault("lost answers, atomic jobs")
def test_an_answer_that_is_lost_costs_and_doubles_no_effect_of_an_atomic_job(hosts, ledger, network, figures):
    times, kinds = form(3, 20), (MOVE, COMMIT_OF_JOB)
    network.lose_answers(times, only=kinds)
    [host] = hosts.start(environment=network.environment, delayed={"LEASE": 5})
    rows = []

    def all_were_lost():
        if DelayedJob.objects.count() < 5:
            rows.extend(enqueue_all([AtomicWork(str(ledger), 0.001) for _ in range(3)]))
        return [network.lost[kind] for kind in kinds] == [times, times]

    until(all_were_lost, PATIENCE)
    until(no_job_is_left, PATIENCE)
    lost, doubled, extra = Effect.lost(rows), Effect.doubled(), ledger.extra_starts(rows)
    figures(answers=2 * times, jobs=len(rows), lost=len(lost), doubled=len(doubled), extra=extra)
    assert lost == set()
    assert doubled == []
    # If the answer to its move is lost, a job is rolled back and performed again. If the answer to its commit
    # is lost, it is done.
    assert extra == times
    assert len(host.said("was committed with all that it wrote")) == times
    assert host.process.poll() is None
    assert hosts.stop() == [0]
    assert nothing_is_held()
