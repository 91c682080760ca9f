"""What outcomes add to the tally of a worker."""

from datetime import timedelta

import pytest
from django.utils import timezone
from django_delayed.execution.outcomes import (
    Cancelled,
    Crashed,
    Discarded,
    Failed,
    Finished,
    Released,
    Rescheduled,
    Snoozed,
    Suspected,
)
from django_delayed.models import DelayedJob
from django_delayed.worker.counting import tally_of
from django_delayed.worker.tally import Tally

SECOND = timedelta(seconds=1)
ERROR = {"exception": LookupError(), "duration": 0.25}
NOW = timezone.now()


def row(waited=0.0):
    return DelayedJob(run_at=NOW - waited * SECOND, locked_at=NOW)


def test_no_outcomes_add_nothing():
    assert tally_of([]) == Tally() == (0, 0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("outcome", "tally"),
    [
        (Finished(None, 0.25), Tally(1, 0, 4.0, 0.25, 4.0)),
        (Snoozed(None, SECOND, 0.25), Tally(1, 0, 4.0, 0.25, 4.0)),
        (Rescheduled(None, None, wait=SECOND, **ERROR), Tally(1, 1, 4.0, 0.25, 4.0)),
        (Failed(None, None, **ERROR), Tally(1, 1, 4.0, 0.25, 4.0)),
        (Crashed(None, None, None, exception=LookupError()), Tally(1, 1, 4.0, 0.0, 4.0)),
        (Discarded(None, None, **ERROR), Tally(1, 0, 4.0, 0.25, 4.0)),
        (Cancelled(None, None, **ERROR), Tally(1, 0, 4.0, 0.25, 4.0)),
        (Released(), Tally()),
        (Suspected(), Tally()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_attempt_counts_by_its_outcome(outcome, tally):
    assert tally_of([(row(4), outcome)]) == tally


def test_the_attempts_of_a_batch_are_added_up():
    batch = [(row(waited), Finished(None, waited / 2)) for waited in (1, 3, 2)]
    assert tally_of(batch) == Tally(3, 0, 6.0, 3.0, 3.0)
