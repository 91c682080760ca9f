"""The page about long jobs: its Jobs go on as it says."""

from decimal import Decimal
from unittest import mock

import pytest
from django_delayed import Job
from django_delayed.features.iteration.iterating import Iteration
from django_delayed.models import DelayedJob, JobCursor
from django_delayed.testing import work_off
from tests.stories.markdown import ROOT, blocks

from shop.models import Product, Supplier

pytestmark = pytest.mark.django_db


@pytest.fixture
def names(monkeypatch):
    """The names that the blocks of the page define, as if they were in shop.jobs."""
    found = {"__name__": "shop.jobs"}
    for block in blocks(ROOT / "docs/long_jobs.md"):
        exec(block.text, found)
    for name, job in found.items():
        if isinstance(job, type) and issubclass(job, Job):
            monkeypatch.setattr(f"shop.jobs.{name}", job, raising=False)
    return found


@pytest.fixture
def products():
    for number in range(5):
        Product.objects.create(sku=f"B{number}", name="Board", vendor="Forge", category="Boards", price=10)
    DelayedJob.objects.all().discard()
    return Product.objects.all()


def interrupted_once(job, after):
    """Stop the worker when the job has asked this many times, then perform the job to its end."""
    answers = iter([*[False] * after, True])
    with mock.patch.object(job, "should_stop", side_effect=lambda: next(answers)):
        work_off()
    assert JobCursor.objects.exists()
    assert DelayedJob.objects.get().attempts == 0
    work_off()
    assert not JobCursor.objects.exists()


def test_the_prices_of_the_page_are_raised_once_each(names, products, monkeypatch):
    raised = []
    monkeypatch.setattr(
        Product, "raise_price", lambda self, percent: raised.append((self.sku, percent)), raising=False
    )
    names["RaisePrices"].perform_later("Forge", 3)
    interrupted_once(names["RaisePrices"], after=2)
    assert raised == [(f"B{number}", 3) for number in range(5)]


def test_the_stock_of_the_page_is_counted_once(names, products, monkeypatch):
    names["CountStock"].perform_later(7)
    chunks = Iteration.chunks
    monkeypatch.setattr(Iteration, "chunks", lambda self, size: chunks(self, 2))
    interrupted_once(names["CountStock"], after=2)
    assert {*products.values_list("stock", flat=True)} == {7}
    assert products[0].price == Decimal(10)


def test_each_step_of_the_page_is_done_once(names, monkeypatch):
    done = []
    methods = {
        "render": lambda self: done.append("render"),
        "pages": lambda self: 3,
        "upload": lambda self, number: done.append(number),
        "announce": lambda self: done.append("announce"),
    }
    for name, method in methods.items():
        monkeypatch.setattr(Supplier, name, method, raising=False)
    names["PublishCatalogue"].perform_later(Supplier.objects.create(name="Forge"))
    # The job asks before the first step, before the second one, and after each page.
    interrupted_once(names["PublishCatalogue"], after=3)
    assert done == ["render", 0, 1, 2, "announce"]
