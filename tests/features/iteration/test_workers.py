"""Long jobs of real workers that are stopped, replaced or killed go on where they were."""

import os
import signal

import pytest
from django_delayed.models import DelayedJob, FailedAttempt, JobCursor
from tests.playground.iterations import KillerInTheMiddle, Steps, Through, ThroughChunks
from tests.playground.models import Effect, Item
from tests.playground.processes import (
    children_of,
    command,
    ledger,
    no_job_is_left,
    nothing_is_held,
    until,
    work,
)

__all__ = ["command", "ledger", "work"]

ITEMS = 200
KINDS = pytest.mark.parametrize(
    "how", [(), ("--threads", "2"), ("--isolate",)], ids=["", "threads", "isolate"]
)


@pytest.fixture
def items(transactional_db):
    Item.objects.bulk_create(Item() for _ in range(ITEMS))
    return [*Item.objects.order_by("pk").values_list("pk", flat=True)]


def is_stopped_in_the_middle(row):
    """Whether the job waits, with its cursor and without a counted attempt, as a stop leaves it."""
    row.refresh_from_db()
    return (
        nothing_is_held()
        and (row.attempts, row.crashes, row.last_error) == (0, 0, "")
        and JobCursor.objects.filter(delayed_job=row).count() == 1
    )


def ends_well():
    until(no_job_is_left)
    assert not JobCursor.objects.exists()
    assert not FailedAttempt.objects.exists()


@pytest.mark.slow
@KINDS
def test_a_job_that_is_stopped_goes_on_at_the_next_item_and_repeats_none(work, ledger, items, how):
    row = Through.perform_later(str(ledger), 0.01)
    for stop in range(1, 3):
        run = work(*how)
        until(lambda stop=stop: len(ledger.effects) >= 40 * stop)
        assert run.stop() == 0
        assert is_stopped_in_the_middle(row)
        run.has_said("is interrupted, as its worker is being stopped; it will go on from here")
    work(*how)
    ends_well()
    assert ledger.effects == dict.fromkeys(items, 1)


@pytest.mark.slow
@KINDS
def test_killing_a_worker_costs_no_attempt_and_repeats_no_chunk(work, ledger, items, how):
    ThroughChunks.perform_later(str(ledger), 0.05, 5)
    run = work(*how)
    until(lambda: Effect.objects.count() >= 50)
    os.kill(run.child, signal.SIGKILL)
    ends_well()
    assert sorted(Effect.objects.values_list("job", flat=True)) == items


@pytest.mark.slow
def test_killing_the_process_of_an_isolated_job_costs_no_attempt(work, ledger, items):
    ThroughChunks.perform_later(str(ledger), 0.05, 5)
    run = work("--isolate")
    until(lambda: Effect.objects.count() >= 50)
    [process] = until(lambda: children_of(run.child))
    os.kill(process, signal.SIGKILL)
    ends_well()
    assert sorted(Effect.objects.values_list("job", flat=True)) == items
    run.has_said("its process was killed .*, after the job had made progress; it continues from its cursor")


@pytest.mark.slow
def test_killing_a_worker_repeats_only_the_items_since_the_last_written_cursor(work, ledger, items):
    row = Through.perform_later(str(ledger), 0.02)
    run = work()
    until(lambda: JobCursor.objects.filter(delayed_job=row).exists())
    os.kill(run.child, signal.SIGKILL)
    ends_well()
    assert ledger.effects.keys() == {*items}
    again = [pk for pk, times in ledger.effects.items() if times > 1]
    # The cursor is written once a second, and an item takes at least 0.02 s.
    assert len(again) <= 1 / 0.02
    assert ledger.effects[items[0]] == 1


@pytest.mark.slow
def test_a_worker_that_is_replaced_leaves_the_rest_to_the_next(work, ledger, items):
    row = Through.perform_later(str(ledger), 0.01)
    run = work()
    until(lambda: len(ledger.effects) >= 40)
    before = run.child
    run.send(signal.SIGHUP)
    ends_well()
    assert ledger.effects == dict.fromkeys(items, 1)
    assert len({entry.pid for entry in ledger.entries}) == 2
    assert before in {entry.pid for entry in ledger.entries}
    run.has_said(f"Through #{row.pk} is interrupted")


@pytest.mark.slow
def test_a_stopped_jobs_workoff_leaves_the_rest_to_the_next_one(command, ledger, items):
    row = Through.perform_later(str(ledger), 0.01)
    run = command("jobs_workoff")
    until(lambda: len(ledger.effects) >= 40)
    run.stop()
    assert is_stopped_in_the_middle(row)
    assert command("jobs_workoff").ends() == 0
    ends_well()
    assert ledger.effects == dict.fromkeys(items, 1)


@pytest.mark.slow
def test_a_job_that_kills_its_process_at_one_item_is_given_up(work, ledger, items):
    """The first crashes got further, up to that item, and are not counted; the later ones are."""
    row = KillerInTheMiddle.perform_later(str(ledger), items[40])
    work()

    def is_given_up():
        # A job waits for half a minute after its second crash.
        DelayedJob.objects.run_now()
        return DelayedJob.objects.failed().filter(pk=row.pk).exists()

    until(is_given_up)
    row.refresh_from_db()
    assert (row.attempts, row.crashes, row.error_class) == (3, 3, "WorkerCrashed")
    assert len(ledger.lines) > 3
    assert JobCursor.objects.filter(delayed_job=row).exists()


@pytest.mark.slow
def test_steps_go_on_after_a_kill_and_after_a_stop(work, ledger, transactional_db):
    row = Steps.perform_later(str(ledger))
    run = work()
    until(lambda: JobCursor.objects.filter(delayed_job=row).count() == 2)
    os.kill(run.child, signal.SIGKILL)
    until(lambda: ledger.lines.count("second 60") and run.child)
    assert run.stop() == 0
    row.refresh_from_db()
    assert row.attempts == 0
    work()
    ends_well()
    assert ledger.lines.count("first") == 1
    assert {*ledger.lines} == {"first", *(f"second {number}" for number in range(200))}
    assert ledger.lines.count("second 199") == 1
