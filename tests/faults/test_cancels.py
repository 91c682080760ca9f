"""The table in docs/guarantees.md: running jobs that an operator ends, beside others that go on."""

import pytest
from django_delayed import enqueue_all
from django_delayed.models import DelayedJob, FailedAttempt, WorkerRequest
from django_delayed.operations import CANCEL
from django_delayed.states import CANCELLED
from tests.faults.form import PATIENCE, form
from tests.playground.jobs import EndlessWork, EndlessWorkThatAsks, StubbornWork, Work
from tests.playground.processes import nothing_is_held, until

ENDLESS = (EndlessWork, EndlessWorkThatAsks, StubbornWork)
TIMEOUT = 0.5


@pytest.mark.slow
@pytest.mark.fault("jobs ended by an operator")
def test_jobs_that_an_operator_ends_end_once_and_cost_no_other_job_anything(hosts, ledger, figures):
    each, workers = form(1, 20), form(2, 4)
    rows = enqueue_all([Work(str(ledger), 0.005) for _ in range(form(100, 1000))])
    endless = enqueue_all([job(str(ledger)) for _ in range(each) for job in ENDLESS])
    started = hosts.start(workers, delayed={"SHUTDOWN_TIMEOUT": TIMEOUT})
    those = DelayedJob.objects.filter(pk__in=[row.pk for row in endless])

    def all_are_ended():
        running = list(those.running().values_list("pk", flat=True))
        # Only jobs that have begun are ended: one that waits in a batch is running too, and may still begin
        # in another worker.
        if begun := [pk for pk in running if pk in ledger.starts]:
            CANCEL.carry_out(begun, by="ann")
        # It is one statement: a job that is released and claimed meanwhile could be missing in two lists.
        return not those.filter(failed_at=None).exists()

    until(all_are_ended, PATIENCE)
    until(lambda: not DelayedJob.objects.exclude(pk__in=those).exists(), PATIENCE)
    ended = those.failed().filter(error_class="JobCancelled", error_fingerprint=CANCELLED, attempts=1)
    figures(
        jobs=len(rows),
        endless=len(endless),
        ended=ended.count(),
        lost=len(ledger.lost(rows)),
        extra=ledger.starts.total() - len(rows) - len(endless),
    )
    assert ended.count() == len(endless)
    assert {ledger.starts[row.pk] for row in endless} == {1}
    assert ledger.lost(rows) == set()
    assert {ledger.starts[row.pk] for row in rows} == {1}
    assert set(FailedAttempt.objects.values_list("delayed_job_id", flat=True)) == {row.pk for row in endless}
    until(lambda: not WorkerRequest.objects.exists())
    assert {host.stop() for host in started} == {0}
    assert nothing_is_held()
