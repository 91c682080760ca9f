"""The shared page of a worker and its supervisor."""

import os
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django_delayed.worker.activity import Activity
from django_delayed.worker.clock import since_boot
from django_delayed.worker.slot import Current
from django_delayed.worker.tally import Tally

SECOND = timedelta(seconds=1)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="only Linux has memfd_create")
def test_it_needs_no_folder_that_it_can_write_to(monkeypatch):
    monkeypatch.setattr(tempfile, "TemporaryFile", None)
    page = Activity()
    page.slots[0].begin(7, SECOND)
    assert page.slots[0].current().id == 7
    page.close()


@pytest.mark.parametrize("missing", [True, False])
def test_where_there_is_no_memfd_it_uses_a_temporary_file(monkeypatch, missing):
    def refuse(name):
        raise PermissionError(1, "Operation not permitted")

    if missing:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    else:
        monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    page = Activity()
    page.slots[0].begin(7, SECOND)
    assert page.slots[0].current().id == 7
    page.close()


def test_there_is_no_current_job_before_the_first_and_after_the_last(activity):
    assert activity.slots[0].current() is None
    activity.slots[0].begin(7, SECOND)
    assert activity.slots[0].current().id == 7
    activity.slots[0].end()
    assert activity.slots[0].current() is None


def test_the_current_job_has_a_limit_until_it_is_settled(activity):
    activity.slots[0].begin(7, SECOND)
    assert activity.slots[0].current().limit == SECOND
    activity.slots[0].limit_to(2 * SECOND)
    assert activity.slots[0].current().limit == 2 * SECOND
    assert timedelta(0) <= activity.slots[0].current().age <= timedelta(seconds=60)
    activity.slots[0].performed()
    assert activity.slots[0].current().limit is None


def test_another_process_reads_the_same_page(activity):
    code = (
        "import sys; from datetime import timedelta; from django_delayed.worker.activity import Activity;"
        "activity = Activity(int(sys.argv[1])); activity.slots[0].begin(9, timedelta(seconds=3));"
        "activity.be_ready()"
    )
    assert not activity.is_ready
    subprocess.run([sys.executable, "-c", code, str(activity.fd)], pass_fds=[activity.fd], check=True)
    assert activity.slots[0].current().id == 9
    assert activity.is_ready


def test_a_reader_never_sees_half_of_a_job(activity):
    # The writer is another process, as in production. The limit of each job is its id.
    code = (
        "import sys; from datetime import timedelta; from django_delayed.worker.activity import Activity\n"
        "slot = Activity(int(sys.argv[1])).slots[0]\n"
        "while True:\n"
        "    for id in (1, 2**40 + 7):\n"
        "        slot.begin(id, timedelta(microseconds=id)); slot.end()\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(activity.fd)], pass_fds=[activity.fd])
    try:
        seen, ids, until = set(), set(), time.monotonic() + 60
        while (len(seen) < 200 or len(ids) < 2) and time.monotonic() < until:
            if current := activity.slots[0].current():
                assert current.limit == timedelta(microseconds=current.id)
                assert current.age < timedelta(seconds=60)
                seen.add((current.id, current.age))
                ids.add(current.id)
    finally:
        writer.kill()
        writer.wait()
    assert ids == {1, 2**40 + 7}


def test_a_worker_without_any_heartbeat_is_not_stale(activity):
    assert not activity.is_stale(timedelta(0))
    activity.heartbeat(since_boot() - 10)
    assert activity.is_stale(timedelta(seconds=9))
    assert not activity.is_stale(timedelta(seconds=60))


@pytest.mark.parametrize("token", [1, 2**63 - 1, 42])
def test_the_token_of_the_last_claim_is_read_as_it_was_written(activity, token):
    assert activity.slots[0].claimed == 0
    activity.slots[0].claim(token)
    activity.slots[0].begin(7, SECOND)
    activity.heartbeat(since_boot())
    assert activity.slots[0].claimed == token


@pytest.fixture
def clock(monkeypatch):
    """Both clocks of the page, which only `clock.now += seconds` moves on."""
    clock = SimpleNamespace(now=1000.0)
    for module in ("activity", "slot", "page"):
        monkeypatch.setattr(
            f"django_delayed.worker.{module}.time", SimpleNamespace(monotonic=lambda: clock.now)
        )
    monkeypatch.setattr("django_delayed.worker.activity.since_boot", lambda: clock.now)
    return clock


def test_ages_are_measured_from_the_beginning_of_a_job(activity, clock):
    activity.slots[0].begin(7, 5 * SECOND)
    clock.now += 7.5
    assert activity.slots[0].current() == Current(7, timedelta(seconds=7.5), 5 * SECOND)
    assert not activity.slots[0].current().is_overdue
    clock.now += 0.5
    assert not activity.slots[0].current().is_overdue
    clock.now += 0.1
    assert activity.slots[0].current().is_overdue
    # The reading process may have looked at its clock before the write.
    clock.now = 999.0
    assert activity.slots[0].current().age == timedelta(0)


def test_it_says_how_long_a_statement_has_taken_and_how_long_ago_the_worker_has_left(activity, clock):
    def ages():
        return activity.slots[0].in_statement_for, activity.left_for

    assert ages() == (timedelta(0), timedelta(0))
    activity.slots[0].begin_statement()
    clock.now += 3
    assert ages() == (3 * SECOND, timedelta(0))
    activity.slots[0].end_statement()
    assert ages() == (timedelta(0), timedelta(0))
    activity.leave()
    clock.now += 4
    assert ages() == (timedelta(0), 4 * SECOND)
    clock.now = 999.0
    assert ages() == (timedelta(0), timedelta(0))


def test_what_is_written_on_the_page_leaves_the_rest_as_it_is(activity, clock):
    activity.slots[0].begin(7, SECOND)
    activity.heartbeat(990)
    activity.be_ready()
    activity.leave()
    activity.slots[0].begin_statement()
    activity.slots[0].claim(9)
    clock.now += 5
    assert (activity.slots[0].current().id, activity.slots[0].current().limit) == (7, SECOND)
    assert activity.is_stale(14 * SECOND)
    assert not activity.is_stale(15 * SECOND)
    assert activity.is_ready
    assert activity.left_for == activity.slots[0].in_statement_for == 5 * SECOND
    assert activity.slots[0].claimed == 9


def test_a_job_is_cancelled_by_its_id_and_the_next_one_is_not():
    page = Activity(slots=2)
    other = Activity(os.dup(page.fd))
    slot, seen = page.slots[1], other.slots[1]
    for id in (7, 8):
        slot.begin(id, SECOND)
        assert not slot.is_cancelled(id)
        seen.cancel(id)
        assert slot.is_cancelled(id)
        assert not page.slots[0].is_cancelled(id)
    assert seen.current().id == 8
    # The request is for a job that has ended since.
    slot.begin(9, SECOND)
    seen.cancel(8)
    assert not slot.is_cancelled(9)
    # The same job, in its next attempt.
    slot.begin(8, SECOND)
    assert not slot.is_cancelled(8)
    page.close()
    other.close()


def test_what_is_written_into_a_slot_leaves_the_others_as_they_are(clock):
    page = Activity(slots=3)
    other = Activity(os.dup(page.fd))
    before, slot, after = other.slots
    slot.begin(7, SECOND)
    slot.begin_statement()
    slot.claim(2**63 - 1)
    slot.count(Tally(1, 1, 2.5, 0.5, 2.5))
    clock.now += 2
    for each in (before, after):
        assert each.current() is None
        assert (each.in_statement_for, each.claimed) == (timedelta(0), 0)
        assert each.tally == Tally()
        each.begin(8, 9 * SECOND)
        each.begin_statement()
        each.claim(3)
        each.count(Tally(1))
    assert page.slots[1].current() == Current(7, 2 * SECOND, SECOND, token=2**63 - 1)
    assert (page.slots[1].in_statement_for, page.slots[1].claimed) == (2 * SECOND, 2**63 - 1)
    assert page.slots[1].tally == Tally(1, 1, 2.5, 0.5, 2.5)
    assert page.tally == Tally(3, 1, 2.5, 0.5, 2.5)
    assert not page.is_ready
    assert not page.is_stale(timedelta(0))
    page.close()
    other.close()


def test_the_worker_is_to_be_quiet_until_it_is_resumed(activity):
    assert not activity.is_quiet
    other = Activity(os.dup(activity.fd))
    other.be_quiet(True)
    assert activity.is_quiet
    activity.be_quiet(False)
    assert not other.is_quiet
    other.close()


def test_jobs_and_their_failures_are_counted(activity):
    [slot] = activity.slots
    slot.count(Tally(2, 1, 3.0, 1.5, 2.0))
    slot.count(Tally(1, 0, 4.0, 0.5, 1.0))
    assert slot.tally == Tally(3, 1, 7.0, 2.0, 2.0)
    slot.forget_longest()
    assert slot.tally == Tally(3, 1, 7.0, 2.0, 0.0)
    assert slot.ledger.ids == ()


def test_a_page_that_is_closed_leaves_no_file_open():
    before = set(os.listdir("/dev/fd"))
    page = Activity()
    other = Activity(os.dup(page.fd))
    page.close()
    other.close()
    assert set(os.listdir("/dev/fd")) == before
