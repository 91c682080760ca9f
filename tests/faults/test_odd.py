"""The table in docs/guarantees.md: errors that cannot be stored as they are, and rows that cannot be read."""

import pytest
from django_delayed import enqueue_all
from django_delayed.models import DelayedJob
from tests.databases.odd_rows import NEVER_DUE, ODD, write_by_hand
from tests.faults.form import PATIENCE, form
from tests.playground.errors import ERRORS, Odd
from tests.playground.jobs import Work
from tests.playground.processes import until

LONGEST = 64 * 1024


@pytest.mark.slow
@pytest.mark.fault("errors that cannot be stored")
def test_errors_that_cannot_be_stored_as_they_are_can_be_read_and_the_other_jobs_go_on(
    hosts, ledger, figures
):
    rows = {name: Odd.perform_later(name, factor=form(1, 100)) for name in ERRORS}
    good = enqueue_all([Work(str(ledger)) for _ in range(form(50, 1000))])
    [host] = hosts.start()
    until(lambda: DelayedJob.objects.failed().count() == DelayedJob.objects.count() == len(rows), PATIENCE)
    texts = {row.payload: row for row in DelayedJob.objects.all()}
    figures(errors=len(rows), longest=max(len(row.last_error) for row in texts.values()), good=len(good))
    for name, row in rows.items():
        row.refresh_from_db()
        _, expected = ERRORS[name]
        assert expected in row.last_error, name
        assert "\0" not in row.last_error
        assert len(row.last_error.encode()) <= LONGEST
    assert ledger.lost(good) == set()
    assert hosts.said("exit code|was killed") == []
    assert host.stop() == 0


@pytest.mark.slow
@pytest.mark.fault("odd rows")
def test_odd_rows_are_set_aside_or_left_alone_and_the_other_jobs_go_on(hosts, ledger, figures):
    good = []
    odd = []
    for assignment in (ODD | NEVER_DUE).values():
        before, row, after = enqueue_all([Work(str(ledger)) for _ in range(3)])
        write_by_hand(row.pk, assignment)
        odd.append(row.pk)
        good += [before, after]
    [host] = hosts.start()
    until(lambda: not ledger.lost(good), PATIENCE)
    until(lambda: DelayedJob.objects.filter(error_class="UnreadableRow").count() == len(ODD), PATIENCE)
    figures(odd=len(odd), set_aside=len(ODD), good=len(good))
    assert ledger.starts.keys() == {row.pk for row in good}
    assert hosts.said("exit code|was killed") == []
    assert host.stop() == 0
