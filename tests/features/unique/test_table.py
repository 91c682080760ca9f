"""What becomes of a job while an equal one is in each state: the table of docs/unique.md, cell by cell."""

from datetime import timedelta

import pytest
from django_delayed import Unique
from django_delayed.models import DelayedJob
from django_delayed.serialization.errors import describe
from django_delayed.states import State
from tests.blog.work import claim
from tests.conftest import ROOT

HOUR = timedelta(hours=1)
ERROR = describe(ValueError("it broke"))

pytestmark = pytest.mark.django_db


def enqueued(write):
    return write()


def scheduled(write):
    return write(wait=HOUR)


def put_to_now(write):
    row = write(wait=HOUR)
    assert DelayedJob.objects.run_now() == 1
    return row


def retried(write):
    row = failed(write)
    assert DelayedJob.objects.retry() == 1
    return row


def running(write):
    write()
    return claim()


def retrying(write):
    row = running(write)
    assert DelayedJob.objects.reschedule(row, ERROR, HOUR)
    return row


def failed(write):
    row = running(write)
    assert DelayedJob.objects.fail(row, ERROR)
    return row


def finished(write):
    row = running(write)
    row.keep_for = HOUR
    assert DelayedJob.objects.finish(row)
    return row


def gone(write):
    row = running(write)
    assert DelayedJob.objects.finish(row)
    return row


# The first cell of each row of the table, the function that brings a job there, and its state.
FIRST = {
    "scheduled": (scheduled, State.SCHEDULED),
    "enqueued": (enqueued, State.ENQUEUED),
    "made due by *Run now*": (put_to_now, State.ENQUEUED),
    "retried by an operator": (retried, State.ENQUEUED),
    "running": (running, State.RUNNING),
    "retrying": (retrying, State.RETRYING),
    "failed": (failed, State.FAILED),
    "finished": (finished, State.FINISHED),
    "gone": (gone, None),
}
# The other columns of the table.
HOW = [
    Unique(until="start", on_duplicate="skip"),
    Unique(until="start", on_duplicate="replace"),
    Unique(until="finish", on_duplicate="skip"),
    Unique(until="finish", on_duplicate="replace"),
]


def cells():
    page = (ROOT / "docs/unique.md").read_text()
    _, table = page.split("| the first job is |", 1)
    for line in table.split("\n\n")[0].splitlines()[2:]:
        name, *words = [cell.strip() for cell in line.strip("|").split("|")]
        for how, word in zip(HOW, words, strict=True):
            yield pytest.param(name, how, word, id=f"{name}-{how.until}-{how.on_duplicate}")


CELLS = list(cells())


def test_the_page_has_each_state():
    assert {cell.values[0] for cell in CELLS} == {*FIRST}
    assert len(CELLS) == 4 * len(FIRST)


@pytest.mark.parametrize(("kind", "how", "word"), CELLS)
def test_each_cell_of_the_table_is_true(kind, how, word, write, ids):
    bring, state = FIRST[kind]
    first = bring(lambda **options: write(unique=how, **options))
    found = DelayedJob.objects.filter(pk=first.pk).first()
    assert (found and found.state) == state
    before = ids()
    second = write(unique=how)
    if word == "skipped":
        assert second is None
        assert ids() == before
    elif word == "enqueued":
        assert ids() == [*before, second.pk]
    else:
        assert word == "replaces it"
        assert ids() == [second.pk] != before
