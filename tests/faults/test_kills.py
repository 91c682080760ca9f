"""The table in docs/guarantees.md: processes that die."""

import json
import signal
import time
from collections import Counter

import pytest
from django.db import connection
from django_delayed import enqueue_all
from django_delayed.models import DelayedJob
from tests.faults.form import IS_LONG, PATIENCE, about_processes, form
from tests.playground.deaths import AFTER_PERFORM, POINTS
from tests.playground.jobs import KILLERS, AtomicWork, Killer, KillerOnce, Work, WorkAgain
from tests.playground.ledger import DEATH
from tests.playground.models import Effect
from tests.playground.pooler import PgBouncer
from tests.playground.processes import no_job_is_left, nothing_is_held, until

on_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="Poolers and Django's pool are for PostgreSQL"
)


# One ends without a signal, and one by a signal that no handler of Python hears. The killer that runs once
# uses SIGKILL.
FEW_KILLERS = ["exit code 0", "SIGSEGV of the stack"]


def all_is_done():
    # After its second crash, a job waits for half a minute.
    DelayedJob.objects.run_now()
    return no_job_is_left()


def storm(
    hosts, ledger, figures, jobs, workers, kills, processes=1, threads=1, kind=Work, ms=range(10), **options
):
    rows = enqueue_all([kind(str(ledger), 0.001 * ms[number % len(ms)]) for number in range(jobs)])
    hosts.start(workers // processes, "--processes", processes, "--threads", threads, **options)
    for kill in range(kills):
        done = jobs * kill // (kills + 1)
        until(lambda done=done: len(ledger.effects) >= done, PATIENCE)
        hosts.kill_one_in_a_job()
    until(all_is_done, PATIENCE)
    extra = ledger.extra_starts(rows)
    lost, doubled = (Effect if kind.atomic else ledger).lost(rows), Effect.doubled()
    of_atomic = {"doubled": len(doubled)} if kind.atomic else {}
    figures(jobs=jobs, workers=workers, kills=kills, lost=len(lost), extra=extra, **of_atomic)
    assert lost == set()
    assert doubled == []
    assert extra <= kills * threads
    assert set(hosts.stop()) == {0}
    assert nothing_is_held()


@pytest.mark.slow
@pytest.mark.fault("kills")
def test_a_storm_of_kills_loses_no_job(hosts, ledger, figures):
    size = {"jobs": form(2000, 10_000), "workers": form(4, 8), "kills": form(20, 50)}
    storm(hosts, ledger, figures, **size, processes=form(2, 1))


@pytest.mark.slow
@pytest.mark.fault("kills, atomic jobs")
def test_a_storm_of_kills_loses_and_doubles_no_effect_of_an_atomic_job(hosts, ledger, figures):
    size = {"jobs": form(200, 10_000), "workers": form(2, 8), "kills": form(2, 50)}
    storm(hosts, ledger, figures, **size, kind=AtomicWork)


@about_processes
@pytest.mark.slow
@pytest.mark.fault("kills, four workers a supervisor")
def test_a_storm_of_kills_loses_no_job_of_several_workers_of_one_supervisor(hosts, ledger, figures):
    size = {"jobs": form(300, 10_000), "workers": form(4, 8), "kills": form(3, 50)}
    storm(hosts, ledger, figures, **size, processes=4)


@pytest.mark.slow
@pytest.mark.fault("kills, four threads a worker")
def test_a_storm_of_kills_loses_no_job_of_workers_with_threads(hosts, ledger, figures):
    size = {"jobs": form(200, 10_000), "workers": form(2, 8), "kills": form(2, 50)}
    storm(hosts, ledger, figures, **size, threads=4)


@on_postgresql
@pytest.mark.slow
@pytest.mark.skipif(not PgBouncer.is_installed(), reason="PgBouncer is not installed here")
@pytest.mark.fault("kills behind PgBouncer")
def test_a_storm_of_kills_loses_no_job_behind_a_pooler_of_transactions(hosts, ledger, figures):
    with PgBouncer(pool_size=3) as pooler:
        environment = {"PGPORT": str(pooler.port)}
        size = {"jobs": form(100, 10_000), "workers": form(2, 8), "kills": form(1, 50)}
        storm(hosts, ledger, figures, **size, environment=environment)


@on_postgresql
@pytest.mark.slow
@pytest.mark.fault("kills with a pool")
def test_a_storm_of_kills_loses_no_job_with_djangos_pool_of_connections(hosts, ledger, figures):
    environment = {"DATABASE_OPTIONS": json.dumps({"pool": {"min_size": 1, "max_size": 3}})}
    size = {"jobs": form(100, 10_000), "workers": form(2, 8), "kills": form(1, 50)}
    storm(hosts, ledger, figures, **size, environment=environment)


def deaths_in(ledger):
    """How often each job was the last one of a process that died after it had performed it."""
    last, died = {}, Counter()
    for entry in ledger.entries:
        if entry.what != DEATH:
            last[entry.pid] = entry.job
        elif entry.job.replace("_", " ") in AFTER_PERFORM:
            died[last[entry.pid]] += 1
    return died


@pytest.mark.slow
@pytest.mark.fault("death at each point")
def test_a_worker_that_dies_at_any_point_loses_no_job_and_repeats_only_what_it_had_not_settled(
    hosts, ledger, rng, figures
):
    deaths, jobs = form(1, 15), form(60, 600)
    # A third of them fails once, because a failure is written with two statements.
    kinds = (WorkAgain, Work, AtomicWork) * (jobs * len(POINTS) // 3)
    rows = enqueue_all([kind(str(ledger), 0.001) for kind in kinds])
    count = form(3, len(POINTS))
    for number in range(count):
        points = ";".join([*POINTS][number::count])
        given = {"DEATH_AT": points, "DEATHS": str(deaths), "DEATH_LEDGER": str(ledger)}
        given |= {"APPS": "tests.playground.deaths.Deaths", "SEED": str(rng.random())}
        hosts.start(environment=given)

    def all_have_died():
        # Workers that start late find work too.
        if DelayedJob.objects.waiting().count() < jobs:
            rows.extend(enqueue_all([kind(str(ledger), 0.001) for kind in (Work, WorkAgain, AtomicWork)]))
        return len(ledger.of(DEATH)) == deaths * len(POINTS)

    until(all_have_died, PATIENCE)
    until(all_is_done, PATIENCE)
    died = deaths_in(ledger)
    expected = {row.pk: 1 + (row.name == "WorkAgain") for row in rows}
    # A job that died with its worker before it failed may not fail at all.
    extra = {pk: count - expected[pk] for pk, count in ledger.starts.items() if count > expected[pk]}
    at = Counter(entry.job for entry in ledger.of(DEATH))
    # The ledger hears of the effect of an atomic job after its commit, which has removed its row.
    atomic = [row for row in rows if row.name == "AtomicWork"]
    lost = Effect.lost(atomic) | ledger.lost(row for row in rows if row.name != "AtomicWork")
    figures(points=len(at), deaths=sum(at.values()), lost=len(lost), extra=sum(extra.values()))
    assert lost == set()
    assert {pk: count for pk, count in extra.items() if count > died[pk]} == {}
    assert Effect.doubled() == []
    assert set(at.values()) == {deaths}
    assert hosts.stop() == [0] * count
    assert nothing_is_held()


def perform_killers(hosts, ledger, figures, *arguments):
    """Perform killer jobs among good ones; gives the processes of the workers before and after that."""
    kinds = [(kind, Killer) for kind in form(FEW_KILLERS, KILLERS)]
    kinds += [(kind, KillerOnce) for kind in form(["SIGKILL"], KILLERS)]
    good = enqueue_all([Work(str(ledger), 0.001) for _ in range(form(100, 1000))])
    pills = enqueue_all([killer(str(ledger), kind) for kind, killer in kinds])
    # The killers run among the good ones.
    for pill, neighbour in zip(pills, good[:: len(good) // len(pills)], strict=False):
        DelayedJob.objects.filter(pk=pill.pk).update(run_at=neighbour.run_at)
    workers = form(2, 4)
    started = hosts.start(workers, *arguments)
    first = [host.child for host in started]

    def all_pills_are_given_up():
        DelayedJob.objects.run_now()
        return DelayedJob.objects.failed().count() == DelayedJob.objects.count() == len(pills)

    until(all_pills_are_given_up, PATIENCE)
    starts = ledger.starts
    figures(killers=len(pills), good=len(good), done=len(ledger.effects), lost=len(ledger.lost(good)))
    assert {starts[row.pk] for row in good} == {1}
    assert ledger.lost(good) == set()
    for (kind, killer), pill in zip(kinds, pills, strict=True):
        pill.refresh_from_db()
        times = 3 if killer is Killer else 1
        assert (starts[pill.pk], pill.attempts, pill.crashes) == (times, times, times), kind
        assert kind.split(" of ")[0] in pill.error_message
        assert pill.failed_attempts.count() == times
    last = [host.child for host in started]
    assert hosts.stop() == [0] * workers
    assert nothing_is_held()
    return first, last


@pytest.mark.slow
@pytest.mark.fault("killer jobs")
def test_killer_jobs_are_given_up_after_three_crashes_and_cost_no_other_job_anything(hosts, ledger, figures):
    perform_killers(hosts, ledger, figures)


@about_processes
@pytest.mark.slow
@pytest.mark.fault("killer jobs, isolated")
def test_isolated_killer_jobs_cost_their_workers_nothing_either(hosts, ledger, figures):
    first, last = perform_killers(hosts, ledger, figures, "--isolate")
    assert first == last


@pytest.mark.slow
@pytest.mark.fault("host lost")
def test_the_jobs_of_a_lost_host_are_taken_up_by_another(hosts, ledger, figures):
    lease, lost = form(2, 60), form(2, 4)
    rows = enqueue_all([Work(str(ledger), 0.5) for _ in range(lost)])
    hosts.start(lost, delayed={"LEASE": lease})
    struck = [hosts.suspend_one_in_a_job()]
    while len(struck) < lost:
        struck.append(hosts.suspend_one_in_a_job(*(worker for worker, _ in struck)))
    for worker, _ in struck:
        host = hosts.suspend_host_of(worker)
        host.send(signal.SIGKILL)
        host.send(signal.SIGKILL, to=worker)
    began = time.monotonic()
    [other] = hosts.start(delayed={"LEASE": lease})
    until(lambda: ledger.extra_starts(rows) == lost, PATIENCE)
    slowest = max(entry.at for entry in ledger.entries) / 1e9 - began
    until(no_job_is_left)
    figures(hosts=lost, lease=lease, lost=len(ledger.lost(rows)), slowest=round(slowest))
    assert ledger.lost(rows) == set()
    assert ledger.extra_starts(rows) == lost
    assert not IS_LONG or slowest <= lease + 30
    assert other.stop() == 0
    assert nothing_is_held()
