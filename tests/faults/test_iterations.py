"""The table in docs/guarantees.md: long jobs that are killed and stopped in the middle."""

import signal

import pytest
from django_delayed.models import DelayedJob, FailedAttempt, JobCursor
from tests.faults.form import PATIENCE, form
from tests.playground.iterations import Through, ThroughChunks
from tests.playground.models import Effect, Item
from tests.playground.processes import children_of, no_job_is_left, nothing_is_held, until


def have_moved(before):
    """Whether each job that is still there has another cursor than before."""
    now = dict(JobCursor.objects.values_list("delayed_job_id", "value"))
    left = DelayedJob.objects.values_list("pk", flat=True)
    return all(now.get(job) != before.get(job) for job in left)


@pytest.mark.slow
@pytest.mark.fault("iterations")
def test_long_jobs_that_are_killed_and_stopped_go_on_where_they_were(hosts, ledger, rng, figures):
    rows, size, strikes = form(200, 10_000), 5, form(2, 25)
    pace = form(0.02, 0.01)
    Item.objects.bulk_create(Item() for _ in range(rows))
    items = {*Item.objects.values_list("pk", flat=True)}
    Through.perform_later(str(ledger), pace)
    ThroughChunks.perform_later(str(ledger), size * pace, size)
    running, kills, stops = hosts.start(2), 0, 0
    while kills + stops < strikes and DelayedJob.objects.count() == 2:
        before = dict(JobCursor.objects.values_list("delayed_job_id", "value"))
        until(lambda before=before: have_moved(before), PATIENCE)
        if DelayedJob.objects.count() < 2:
            break
        if rng.random() < 0.5:
            hosts.kill_one_in_a_job()
            kills += 1
        else:
            host = running.pop(rng.randrange(2))
            host.send(signal.SIGTERM)
            assert host.ends() == 0
            [host] = hosts.start(1)
            # Before it has a worker, it may have no handler for a signal yet.
            until(lambda host=host: children_of(host.pid))
            running.append(host)
            stops += 1
    until(no_job_is_left, PATIENCE)
    effects = ledger.effects
    del effects[0]
    lost = items - effects.keys(), items - {*Effect.objects.values_list("job", flat=True)}
    doubled = Effect.objects.count() - len(items)
    figures(
        items=rows,
        kills=kills,
        stops=stops,
        lost=len(lost[0]) + len(lost[1]),
        doubled=doubled,
        extra=effects.total() - rows,
    )
    assert kills + stops
    assert lost == (set(), set())
    assert doubled == 0
    # A stop repeats nothing. A kill repeats what was done since the cursor was written, at most a second ago.
    assert effects.total() - rows <= kills * 1 / pace
    assert not FailedAttempt.objects.exists()
    assert not JobCursor.objects.exists()
    assert set(hosts.stop()) == {0}
    assert nothing_is_held()
