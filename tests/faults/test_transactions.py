"""The table in docs/guarantees.md: jobs and the transactions around them, while workers look for jobs."""

import time

import pytest
from django.db import connection, transaction
from django_delayed import enqueue_all
from django_delayed.models import DelayedJob
from tests.faults.form import PATIENCE, form
from tests.playground.jobs import Work
from tests.playground.ledger import START
from tests.playground.processes import no_job_is_left, nothing_is_held, until

DEEPEST = 3


class RolledBack(Exception):
    pass


class Transactions:
    """A random tree of blocks with some jobs; some of the blocks are rolled back."""

    def __init__(self, rng, ledger):
        self.rng, self.ledger = rng, ledger
        self.written = 0
        self.committed_after = {}  # job: a time before its commit

    def run(self):
        for job in self._block(0):
            self.committed_after[job] = self._commit_begins

    def _block(self, depth):
        """The ids of the jobs that are left after the block."""
        left = []
        try:
            with transaction.atomic():
                for _ in range(self.rng.randint(1, 3)):
                    if depth < DEEPEST and self.rng.random() < 0.4:
                        left += self._block(depth + 1)
                    else:
                        left.append(Work.perform_later(str(self.ledger)).pk)
                        self.written += 1
                if self.rng.random() < 0.3:
                    raise RolledBack
                self._commit_begins = time.monotonic_ns()
        except RolledBack:
            return []
        return left


@pytest.mark.slow
@pytest.mark.fault("random transactions")
def test_jobs_of_random_transactions_are_those_that_were_committed(hosts, ledger, rng, figures):
    workers, count = form(2, 4), form(200, 1000)
    transactions = Transactions(rng, ledger)
    hosts.are_at_work(hosts.start(workers), transactions.run)
    for _ in range(count):
        transactions.run()
    until(no_job_is_left, PATIENCE)
    committed, starts = transactions.committed_after, ledger.starts
    early = [entry for entry in ledger.of(START) if entry.at < committed.get(entry.job, 0)]
    figures(transactions=count, written=transactions.written, committed=len(committed), early=len(early))
    assert starts.keys() == committed.keys()
    assert set(starts.values()) == {1}
    assert early == []
    assert hosts.stop() == [0] * workers
    assert nothing_is_held()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite locks no single rows")
@pytest.mark.fault("rows locked by others")
def test_a_row_that_a_transaction_has_locked_keeps_no_worker_from_the_others(hosts, ledger, figures):
    workers = form(2, 4)
    first, *others = enqueue_all([Work(str(ledger)) for _ in range(form(50, 1000))])
    with transaction.atomic():
        DelayedJob.objects.select_for_update().get(pk=first.pk)
        hosts.start(workers)
        until(lambda: len(ledger.effects) == len(others))
        assert ledger.lost(others) == set()
    until(no_job_is_left)
    rows = [first, *others]
    figures(jobs=len(rows), locked=1, lost=len(ledger.lost(rows)), extra=ledger.extra_starts(rows))
    assert ledger.extra_starts(rows) == 0
    assert hosts.stop() == [0] * workers
