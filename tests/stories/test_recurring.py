"""The page about recurring jobs: its Jobs recur as it says."""

from datetime import UTC, datetime
from itertools import islice

import pytest
from django_delayed import Job
from tests.stories.markdown import ROOT, blocks


@pytest.fixture
def names():
    """The names that the first block of the page defines. Its Jobs recur only during the test."""
    block = next(block for block in blocks(ROOT / "docs/recurring.md") if block.language == "python")
    names = {"__name__": "shop.jobs"}
    exec(block.text, names)
    yield names
    for job in names.values():
        if isinstance(job, type) and issubclass(job, Job) and job is not Job:
            job.schedule = None


def test_the_jobs_of_the_page_recur_as_it_says(names):
    friday = datetime(2026, 3, 27, tzinfo=UTC)
    assert list(islice(names["SendDigest"].schedule.after(friday), 2)) == [
        datetime(2026, 3, 27, 6, tzinfo=UTC),
        # Summer time begins on Sunday.
        datetime(2026, 3, 30, 5, tzinfo=UTC),
    ]
    assert next(names["RefreshRates"].schedule.after(friday)) == datetime(2026, 3, 27, 0, 5, tzinfo=UTC)
    assert (names["SendDigest"].catch_up, names["RefreshRates"].catch_up) == ("latest", "none")
