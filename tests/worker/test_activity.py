"""The shared page of a worker and its supervisor."""

import os
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django_delayed.worker.activity import Activity, Current

SECOND = timedelta(seconds=1)


@pytest.fixture
def activity():
    activity = Activity()
    yield activity
    activity.close()


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="only Linux has files without a folder")
def test_it_needs_no_folder_that_can_be_written(monkeypatch):
    monkeypatch.setattr(tempfile, "TemporaryFile", None)
    page = Activity()
    page.begin(7, SECOND)
    assert page.current().id == 7
    page.close()


@pytest.mark.parametrize("missing", [True, False])
def test_where_there_are_no_such_files_it_takes_a_temporary_one(monkeypatch, missing):
    def refuse(name):
        raise PermissionError(1, "Operation not permitted")

    if missing:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    else:
        monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    page = Activity()
    page.begin(7, SECOND)
    assert page.current().id == 7
    page.close()


def test_there_is_no_current_job_before_the_first_and_after_the_last(activity):
    assert activity.current() is None
    activity.begin(7, SECOND)
    assert activity.current().id == 7
    activity.end()
    assert activity.current() is None


def test_current_job_has_a_limit_until_it_is_settled(activity):
    activity.begin(7, SECOND)
    assert activity.current().limit == SECOND
    activity.limit_to(2 * SECOND)
    assert activity.current().limit == 2 * SECOND
    assert timedelta(0) <= activity.current().age <= timedelta(seconds=60)
    activity.performed()
    assert activity.current().limit is None


def test_another_process_reads_the_same_page(activity):
    code = (
        "import sys; from datetime import timedelta; from django_delayed.worker.activity import Activity;"
        "activity = Activity(int(sys.argv[1])); activity.begin(9, timedelta(seconds=3)); activity.be_ready()"
    )
    assert not activity.is_ready
    subprocess.run([sys.executable, "-c", code, str(activity.fd)], pass_fds=[activity.fd], check=True)
    assert activity.current().id == 9
    assert activity.is_ready


def test_reader_never_sees_half_of_a_job(activity):
    # The writer is a process of its own, as in life: the limit of each job is its id.
    code = (
        "import sys; from datetime import timedelta; from django_delayed.worker.activity import Activity\n"
        "activity = Activity(int(sys.argv[1]))\n"
        "while True:\n"
        "    for id in (1, 2**40 + 7):\n"
        "        activity.begin(id, timedelta(microseconds=id)); activity.end()\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(activity.fd)], pass_fds=[activity.fd])
    try:
        seen, ids, until = set(), set(), time.monotonic() + 60
        while (len(seen) < 200 or len(ids) < 2) and time.monotonic() < until:
            if current := activity.current():
                assert current.limit == timedelta(microseconds=current.id)
                assert current.age < timedelta(seconds=60)
                seen.add((current.id, current.age))
                ids.add(current.id)
    finally:
        writer.kill()
        writer.wait()
    assert ids == {1, 2**40 + 7}


def test_worker_without_any_heartbeat_is_not_stale(activity):
    assert not activity.is_stale(timedelta(0))
    activity.heartbeat(time.time() - 10)
    assert activity.is_stale(timedelta(seconds=9))
    assert not activity.is_stale(timedelta(seconds=60))


@pytest.mark.parametrize("token", [1, 2**63 - 1, 42])
def test_the_token_of_the_last_claim_is_read_as_it_was_written(activity, token):
    assert activity.claimed == 0
    activity.claim(token)
    activity.begin(7, SECOND)
    activity.heartbeat(time.time())
    assert activity.claimed == token


@pytest.fixture
def clock(monkeypatch):
    """Both clocks of the page, which go on by `clock.now += seconds`."""
    clock = SimpleNamespace(now=1000.0)
    stopped = SimpleNamespace(monotonic=lambda: clock.now, time=lambda: clock.now)
    monkeypatch.setattr("django_delayed.worker.activity.time", stopped)
    return clock


def test_ages_are_measured_from_the_beginning(activity, clock):
    activity.begin(7, 5 * SECOND)
    clock.now += 7.5
    assert activity.current() == Current(7, timedelta(seconds=7.5), 5 * SECOND)
    assert not activity.current().is_overdue
    clock.now += 0.5
    assert not activity.current().is_overdue
    clock.now += 0.1
    assert activity.current().is_overdue
    # Read by a process whose look at the clock came before the write.
    clock.now = 999.0
    assert activity.current().age == timedelta(0)


def test_the_worker_says_for_how_long_it_has_waited_for_a_statement_and_since_when_it_has_left(
    activity, clock
):
    def ages():
        return activity.in_statement_for, activity.left_for

    assert ages() == (timedelta(0), timedelta(0))
    activity.begin_statement()
    clock.now += 3
    assert ages() == (3 * SECOND, timedelta(0))
    activity.end_statement()
    assert ages() == (timedelta(0), timedelta(0))
    activity.leave()
    clock.now += 4
    assert ages() == (timedelta(0), 4 * SECOND)
    clock.now = 999.0
    assert ages() == (timedelta(0), timedelta(0))


def test_what_is_written_on_the_page_leaves_the_rest_as_it_is(activity, clock):
    activity.begin(7, SECOND)
    activity.heartbeat(990)
    activity.be_ready()
    activity.leave()
    activity.begin_statement()
    activity.claim(9)
    clock.now += 5
    assert (activity.current().id, activity.current().limit) == (7, SECOND)
    assert activity.is_stale(14 * SECOND)
    assert not activity.is_stale(15 * SECOND)
    assert activity.is_ready
    assert activity.left_for == activity.in_statement_for == 5 * SECOND
    assert activity.claimed == 9


def test_a_page_that_is_closed_leaves_no_file_open():
    before = set(os.listdir("/dev/fd"))
    page = Activity()
    other = Activity(os.dup(page.fd))
    page.close()
    other.close()
    assert set(os.listdir("/dev/fd")) == before
