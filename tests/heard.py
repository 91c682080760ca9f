"""The signals that were sent."""

import pytest
from django_delayed.signals import (
    job_cancelled,
    job_discarded,
    job_errored,
    job_failed,
    job_finished,
    job_snoozed,
    job_started,
)


@pytest.fixture
def heard():
    """The signals that were sent, in order, with their arguments."""
    said = []

    def hear(signal, sender, delayed_job, **what):
        said.append((signal, sender, delayed_job.pk, what))

    ends = (job_finished, job_snoozed, job_errored, job_failed, job_discarded, job_cancelled)
    signals = (job_started, *ends)
    for one in signals:
        one.connect(hear)
    yield said
    for one in signals:
        one.disconnect(hear)
