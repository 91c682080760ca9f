"""The import of a long feed goes on where it was, and imports each line once."""

import csv
import json
import os
import signal
from io import StringIO
from itertools import chain, cycle, islice

import pytest
from django_delayed.models import DelayedJob, FailedAttempt
from django_delayed.testing import work_off
from tests.playground.processes import children_of, nothing_is_held
from tests.playground.waiting import until

from shop.feed import COLUMNS
from shop.jobs import ImportProductsJob
from shop.loopback import LoopbackServers
from shop.models import Product, Supplier
from shop.sample import product_rows

LINES = 12_000
LONG = 120  # seconds, for a busy machine


def feed_of(lines):
    text = StringIO()
    table = csv.DictWriter(text, COLUMNS)
    table.writeheader()
    for number, row in enumerate(islice(cycle([*product_rows()]), lines)):
        table.writerow({**row, "sku": f"L-{number:06}"})
    return text.getvalue().encode()


@pytest.fixture
def supplier(transactional_db):
    with LoopbackServers(files={"/feed.csv": feed_of(LINES)}, tokens=set()) as servers:
        yield Supplier.objects.create(name="Forge", url=servers.web.url, buyer="buyer@shop.example")


def has_got_further(supplier):
    """Wait for the next batch of products."""
    before = Product.objects.count()
    until(lambda: Product.objects.count() > before, LONG)


@pytest.mark.slow
def test_an_import_goes_on_after_sigterm_and_sigkill_and_imports_each_line_once(supplier, manage):
    ImportProductsJob.perform_later(supplier)
    first = manage("jobs_work", "--queues", "imports")
    has_got_further(supplier)
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=LONG)
    assert first.returncode == 0
    row = DelayedJob.objects.get(queue="imports")
    assert (row.state, row.attempts) == ("enqueued", 0)
    assert 0 < Product.objects.count() < LINES
    second = manage("jobs_work", "--queues", "imports")
    has_got_further(supplier)
    [worker] = children_of(second.pid)
    os.kill(worker, signal.SIGKILL)
    until(lambda: DelayedJob.objects.finished().filter(queue="imports").exists(), LONG)
    assert (row.progress.done, row.progress.total) == (LINES + 1, LINES + 1)
    second.send_signal(signal.SIGTERM)
    second.communicate(timeout=LONG)
    assert nothing_is_held()
    assert not FailedAttempt.objects.exists()
    assert Product.objects.count() == LINES
    supplier.refresh_from_db()
    assert supplier.import_report == f"{LINES} new, 0 changed, 0 unchanged, 0 rejected"
    indexed = [json.loads(payload)["args"][0] for payload in jobs_of("IndexProductsJob")]
    # The job of a batch is committed with the batch.
    assert sorted(chain.from_iterable(indexed)) == sorted(Product.objects.values_list("pk", flat=True))
    assert DelayedJob.objects.filter(payload__contains="buyer@shop.example").count() == 1


def jobs_of(name):
    return DelayedJob.objects.filter(name=name).values_list("payload", flat=True)


def test_an_import_begins_again_when_the_feed_has_changed_meanwhile(servers, db, monkeypatch):
    servers.web.files["/feed.csv"] = feed_of(1_200)
    supplier = Supplier.objects.create(name="Forge", url=servers.web.url, buyer="buyer@shop.example")
    # The job asks before the first step, and before each batch.
    answers = iter([False, False, False, True])
    monkeypatch.setattr(ImportProductsJob, "should_stop", lambda job: next(answers, False))
    ImportProductsJob.perform_later(supplier)
    work_off()
    assert Product.objects.count() == 1_000
    servers.web.files["/feed.csv"] = feed_of(1_201)
    work_off()
    supplier.refresh_from_db()
    assert supplier.import_report == "201 new, 0 changed, 1000 unchanged, 0 rejected"
    assert supplier.imported_at
