"""The pages about retries and hooks: their Jobs do what the pages say."""

from datetime import timedelta

import pytest
from django_delayed import DontPerform
from django_delayed.execution.outcomes import Discarded, Failed, decide
from django_delayed.models import DelayedJob
from tests.stories.markdown import ROOT, blocks

from shop.models import Product

RETRIES, HOOKS = ROOT / "docs/retries.md", ROOT / "docs/hooks.md"


def names_of(page, heading=None):
    """The names that the first block of Python below the heading defines."""
    block = next(block for block in blocks(page, heading) if block.language == "python")
    names = {}
    exec(block.text, names)
    return names


@pytest.mark.parametrize(
    ("error", "attempt", "wait"),
    [
        (ConnectionError(), 1, timedelta(seconds=3)),
        (TimeoutError(), 1, timedelta(seconds=3)),
        (PermissionError(), 1, timedelta(hours=1)),
        (FileNotFoundError(), 1, timedelta(seconds=60)),
        (ValueError(), 1, timedelta(seconds=6)),
        (ValueError(), 4, timedelta(seconds=261)),
    ],
)
def test_the_job_of_the_page_waits_by_its_rules(error, attempt, wait):
    job = names_of(RETRIES)["FetchFeed"]("feed")
    chosen = decide(DelayedJob(pk=1, name="a job", attempts=attempt, max_attempts=5), job, error).wait
    # The jitter adds up to 15 %.
    assert wait <= chosen <= 1.15 * wait


def test_the_job_of_the_page_is_discarded_and_given_up_as_it_says():
    names = names_of(RETRIES)
    job = names["FetchFeed"]("feed")
    assert isinstance(decide(DelayedJob(pk=1, attempts=1), job, names["RecordNotFound"]()), Discarded)
    row = DelayedJob(pk=1, attempts=job.max_attempts, max_attempts=job.max_attempts)
    assert isinstance(decide(row, job, ValueError()), Failed)


@pytest.mark.django_db
def test_the_atomic_job_of_the_page_does_its_work():
    Product.objects.create(sku="A1", name="A", vendor="V", category="C", price=1, stock=2)
    names_of(RETRIES, "Atomic jobs")["Restock"].perform_now("A1", 3)
    assert Product.objects.get().stock == 5


def test_a_job_that_ends_its_attempt_needs_a_worker():
    class Report:
        def is_ready(self):
            return False

    export = names_of(RETRIES, "Ending an attempt from the job")["Export"]
    with pytest.raises(RuntimeError, match="is for workers"):
        export.perform_now(Report())


def test_a_job_that_is_told_to_stop_leaves_the_rest_to_the_next_worker(monkeypatch):
    class Feed:
        def __init__(self):
            self.left = [Entry(self) for _ in range(3)]

        def entries_to_fetch(self):
            return list(self.left)

    class Entry:
        def __init__(self, feed):
            self.feed = feed

        def fetch(self):
            self.feed.left.remove(self)

    fetch_entries = names_of(RETRIES, "When the worker is being stopped")["FetchEntries"]
    feed, told = Feed(), iter([False, True])
    monkeypatch.setattr(fetch_entries, "should_stop", lambda self: next(told, False))
    with pytest.raises(RuntimeError, match=r"snooze\(\) is for workers"):
        fetch_entries.perform_now(feed)
    assert len(feed.left) == 1
    fetch_entries.perform_now(feed)
    assert not feed.left


def test_the_hooks_of_the_page_run_in_their_order(caplog, monkeypatch):
    caplog.set_level("INFO")
    names = names_of(HOOKS, "Several hooks of one kind")
    cleaned = []
    monkeypatch.setattr(names["CleanUpOrder"], "check", lambda self: cleaned.append(caplog.messages[:]))
    names["CleanUpOrder"].perform_now("order")
    assert cleaned == [[]]
    assert caplog.messages == ["CleanUpOrder begins", "CleanUpOrder has ended"]
    assert names["DontPerform"] is DontPerform
