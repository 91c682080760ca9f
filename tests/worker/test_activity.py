"""The shared page of a worker and its supervisor."""

import os
import subprocess
import sys
import tempfile
import time
from datetime import timedelta

import pytest
from django_delayed.worker.activity import Activity

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
