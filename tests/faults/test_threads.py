"""The table in docs/guarantees.md: workers that perform several jobs at the same time."""

import pytest
from django_delayed import enqueue_all
from django_delayed.models import DelayedJob
from tests.faults.form import PATIENCE, about_processes, form
from tests.playground.jobs import KILLERS, Killer, KillerOnce, TooLong, Work
from tests.playground.processes import nothing_is_held, until

THREADS = 4


def wait_until_failed(count):
    """Wait until so many jobs have failed, one after another, and no other job is left."""

    def have_failed(number):
        # After its second crash, a job waits for half a minute.
        DelayedJob.objects.run_now()
        return DelayedJob.objects.failed().count() >= number

    for number in range(1, count + 1):
        until(lambda number=number: have_failed(number), PATIENCE)
    until(lambda: DelayedJob.objects.count() == count, PATIENCE)


@about_processes
@pytest.mark.slow
@pytest.mark.fault("killer jobs, four threads a worker")
def test_killer_jobs_of_threads_are_given_up_and_no_job_beside_them_fails(hosts, ledger, figures):
    kinds = [(kind, Killer) for kind in form(["SIGKILL", "exit code 0"], KILLERS)]
    kinds += [(kind, KillerOnce) for kind in form(["SIGKILL"], KILLERS)]
    good = enqueue_all([Work(str(ledger), 0.005) for _ in range(form(100, 1000))])
    DelayedJob.objects.update(max_attempts=1)
    pills = enqueue_all([killer(str(ledger), kind) for kind, killer in kinds])
    for pill, neighbour in zip(pills, good[:: len(good) // len(pills)], strict=False):
        DelayedJob.objects.filter(pk=pill.pk).update(run_at=neighbour.run_at)
    workers = form(2, 4)
    hosts.start(workers, "--threads", THREADS)
    wait_until_failed(len(pills))
    starts, again = ledger.starts, ledger.extra_starts([*good, *pills])
    figures(
        killers=len(pills), good=len(good), done=len(ledger.effects), lost=len(ledger.lost(good)), extra=again
    )
    assert ledger.lost(good) == set()
    for (kind, killer), pill in zip(kinds, pills, strict=True):
        pill.refresh_from_db()
        times = 3 if killer is Killer else 1
        # It is started once more if another job was performed beside it at its first start.
        assert starts[pill.pk] in (times, times + 1), kind
        assert (pill.attempts, pill.crashes, pill.failed_attempts.count()) == (times, times, times), kind
        assert kind.split(" of ")[0] in pill.error_message
    # Each death without a known culprit has interrupted at most the jobs of the worker's other threads.
    suspects = sum(starts[pill.pk] - pill.attempts for pill in pills)
    assert sum(starts[row.pk] - 1 for row in good) <= suspects * (THREADS - 1)
    assert hosts.stop() == [0] * workers
    assert nothing_is_held()


@about_processes
@pytest.mark.slow
@pytest.mark.fault("overlong jobs, four threads a worker")
def test_jobs_of_threads_that_run_too_long_fail_at_once_and_cost_the_others_no_attempt(
    hosts, ledger, figures
):
    count = form(4, 20)
    good = enqueue_all([Work(str(ledger), 0.02) for _ in range(form(200, 2000))])
    # Every second one holds the GIL, so that its whole process stands still until it is killed.
    overlong = enqueue_all([TooLong(str(ledger), holds_gil=bool(number % 2)) for number in range(count)])
    for row, neighbour in zip(overlong, good[:: len(good) // count], strict=False):
        DelayedJob.objects.filter(pk=row.pk).update(run_at=neighbour.run_at)
    DelayedJob.objects.update(max_attempts=1)
    workers = form(1, 4)
    hosts.start(workers, "--threads", THREADS, delayed={"SHUTDOWN_TIMEOUT": 1})
    wait_until_failed(count)
    extra = ledger.extra_starts([*good, *overlong])
    figures(
        overlong=count, good=len(good), done=len(ledger.effects), lost=len(ledger.lost(good)), extra=extra
    )
    assert ledger.lost(good) == set()
    assert {row.error_class for row in DelayedJob.objects.all()} == {"JobTimeout"}
    # If another job held the GIL all the time, a job has not even written that it started.
    assert {ledger.starts[row.pk] for row in overlong} <= {0, 1}
    assert {row.attempts for row in DelayedJob.objects.all()} == {1}
    assert extra <= count * (THREADS - 1)
    assert hosts.stop() == [0] * workers
    assert nothing_is_held()
