"""The page about unique jobs: its Jobs and its calls do what it says."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
from django_delayed import Unique
from django_delayed.models import DelayedJob
from tests.stories.markdown import ROOT, blocks

pytestmark = pytest.mark.django_db


@pytest.fixture
def names(monkeypatch, settings):
    """A module with the Jobs of the page; `counted` has what they count."""
    module = ModuleType("tests.of_the_page")
    settings.DJANGO_DELAYED = {"TRUSTED_MODULES": (module.__name__,)}
    monkeypatch.setitem(sys.modules, module.__name__, module)
    counted = []
    module.statistics = SimpleNamespace(count=lambda *what: counted.append(what))
    for block in blocks(ROOT / "docs/unique.md"):
        if block.text.startswith("# shop/jobs.py"):
            exec(block.text, vars(module))
    module.counted = counted
    return module


def test_only_one_of_a_hundred_equal_jobs_waits(names):
    rows = [names.Reindex.perform_later(9) for _ in range(100)]
    assert rows[1:] == [None] * 99
    assert DelayedJob.objects.get() == rows[0]
    assert names.Reindex.perform_later(product=9) is not None


def test_the_calls_of_the_page_are_unique_and_debounced(post):
    calls = [
        line
        for block in blocks(ROOT / "docs/unique.md")
        for line in block.text.splitlines()
        if line.startswith("product.delay(")
    ]
    assert len(calls) == 2
    for call in calls * 3:
        exec(call, {"product": post, "Unique": Unique})
    row = DelayedJob.objects.get()
    assert (row.run_at - row.created_at).total_seconds() == 30


def test_the_hook_of_the_page_counts_duplicates(names):
    first = names.Counted.perform_later(1)
    assert names.Counted.perform_later(1) is None
    assert names.counted == [("skipped", first.pk)]
