"""A worker's process as its supervisor sees it; here it is a small program instead of a worker."""

import os
import signal
import time
from datetime import timedelta

import pytest
from django.utils import timezone
from django_delayed import enqueue_all
from django_delayed.conf import settings as delayed
from django_delayed.databases import Filters
from django_delayed.execution.outcomes import Crashed, Failed, Rescheduled
from django_delayed.models import DelayedJob
from django_delayed.supervisor import process as module
from django_delayed.supervisor.process import OVERDUE, SHUTDOWN, Process
from django_delayed.worker.configuration import ENVIRONMENT_VARIABLE, Configuration, Start
from django_delayed.worker.heartbeat import register
from django_delayed.worker.slot import Current
from tests.blog.jobs import Plain
from tests.playground.processes import PATIENCE, until

W1, W2 = "1" * 32, "2" * 32
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
SLEEP = "import time; time.sleep(600)"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def process(runs, wakeup):
    runs(SLEEP)
    process = Process(W1, Configuration(), wakeup.fd)
    yield process
    process._popen.kill()
    process._popen.wait()
    process.close()


def files():
    return set(os.listdir("/dev/fd"))


def test_its_process_is_told_all_that_it_needs_to_know(runs, wakeup, tmp_path):
    told = tmp_path / "told"
    runs(
        "import json, os, pathlib\n"
        f"text = os.environ[{ENVIRONMENT_VARIABLE!r}]\n"
        "start = json.loads(text)\n"
        "size = os.fstat(start['activity']).st_size\n"
        "os.fstat(start['supervisor'])\n"
        "os.write(start['wakeup'], b'0')\n"
        f"pathlib.Path({str(told)!r}).write_text(text)\n"
        "raise SystemExit(size > 0)"
    )
    configuration = Configuration(Filters(("mail",), 1, 9, in_order=True), timedelta(seconds=0.25), 7)
    before = time.time()
    process = Process(W1, configuration, wakeup.fd)
    assert process._popen.wait(PATIENCE) == 1
    start = Start.load(told.read_text())
    assert (start.worker, start.configuration, start.activity) == (W1, configuration, process.activity.fd)
    assert wakeup.wait(0)
    assert before <= start.started <= time.time()
    process.close()


def test_control_c_in_the_terminal_does_not_reach_it(process):
    assert os.getsid(process._popen.pid) == process._popen.pid
    assert process.exit_code is None


def test_a_process_leaves_no_file_open(runs, wakeup):
    runs("pass")
    before = files()
    process = Process(W1, Configuration(), wakeup.fd)
    assert process._popen.wait(PATIENCE) == process.exit_code == 0
    process.close()
    assert files() == before


def test_its_heartbeat_is_sent_six_times_a_lease(process):
    heartbeat, unknown, _ = (timedelta(seconds=task.every) for task in process.tasks)
    assert (heartbeat, unknown) == (delayed.LEASE / 6, delayed.LEASE)
    assert not process.activity.is_stale(timedelta(seconds=60))


def test_a_process_that_works_is_left_alone(process):
    process.activity.slots[0].begin(7, HOUR)
    process.activity.slots[0].begin_statement()
    process.watch()
    assert not process.was_killed
    assert process.exit_code is None


def current(age, limit=HOUR):
    return lambda: Current(7, age, limit)


@pytest.mark.parametrize("case", ["lost", "overdue", "left", "stuck"])
def test_a_process_that_does_not_end_is_killed(process, monkeypatch, case, caplog):
    if case == "lost":
        process.send_heartbeat()  # there is no row of this worker
    elif case == "overdue":
        monkeypatch.setattr(process.activity.slots[0], "current", current(HOUR + 4 * SECOND))
    elif case == "left":
        monkeypatch.setattr(module, "GRACE", timedelta(0))
        process.activity.leave()
    else:
        monkeypatch.setattr(module, "STATEMENT_LIMIT", timedelta(0))
        process.activity.slots[0].begin_statement()
    until(lambda: process.watch() or process.was_killed)
    assert process._popen.wait(PATIENCE) == -signal.SIGKILL
    assert process.had_left is (case == "left")
    messages = {
        "lost": f"Worker {W1} was declared dead; replacing it",
        "left": f"Worker {W1} has stopped working and does not end; ending it",
        "stuck": f"Worker {W1} has waited too long for the database; replacing it",
    }
    # Nothing is logged about an overdue job, which will have its own error. A second look logs nothing more.
    process.watch()
    assert caplog.messages == [messages[case] for _ in range(case in messages)]


def test_a_process_whose_job_is_within_the_grace_is_left_alone(process, monkeypatch):
    monkeypatch.setattr(process.activity.slots[0], "current", current(HOUR + 3 * SECOND))
    process.watch()
    assert not process.was_killed


def test_the_first_reason_for_a_kill_counts(process):
    process.kill(SHUTDOWN)
    process.kill(OVERDUE)
    assert process._killed_for == SHUTDOWN
    assert process._popen.wait(PATIENCE) == -signal.SIGKILL


def row(attempts=1):
    return DelayedJob(name="a job", attempts=attempts, max_attempts=25)


def test_a_job_in_which_a_process_ended_has_crashed(process):
    assert process.decision([], -9) is None
    outcome = process.decision([Current(7, SECOND, HOUR)], -9)(row())
    assert isinstance(outcome, Crashed)
    assert "its worker was killed by SIGKILL, perhaps out of memory" in outcome.error.message


@pytest.mark.parametrize(("attempts", "kind"), [(1, Rescheduled), (25, Failed)])
def test_a_job_whose_process_was_killed_as_it_was_overdue_has_timed_out(process, monkeypatch, attempts, kind):
    monkeypatch.setattr(process.activity.slots[0], "current", current(HOUR + 4 * SECOND))
    process.watch()
    outcome = process.decision([Current(7, HOUR, HOUR)], -9)(row(attempts))
    assert isinstance(outcome, kind)
    assert "longer than its max_run_time of 3600 s" in outcome.error.message
    # The alarm ended the overdue job at the last moment, so the kill met the next one.
    assert process.decision([Current(8, SECOND, HOUR)], -9) is None


@pytest.mark.parametrize("why", [SHUTDOWN, "lost", "stuck", "left"])
def test_a_job_whose_process_was_killed_for_another_reason_is_released(process, why):
    process.kill(why)
    assert process.decision([Current(7, SECOND, HOUR)], -9) is None


def claim(worker, count=2):
    enqueue_all([Plain(number) for number in range(count)])
    rows = DelayedJob.objects.claim(worker, count)
    DelayedJob.objects.running().filter(locked_by=worker).update(locked_at=timezone.now() - 2 * delayed.LEASE)
    return rows


def held_by(worker):
    return DelayedJob.objects.running().filter(locked_by=worker).count()


def test_rows_that_a_worker_holds_without_knowing_are_released_after_a_lease(process, caplog):
    claim(W2)
    claim(W1)
    known = claim(W1)
    process.activity.slots[0].claim(known[0].lock_token)
    process._release_unknown()
    assert {row.pk for row in DelayedJob.objects.running().filter(locked_by=W1)} == {row.pk for row in known}
    assert held_by(W2) == 2
    assert caplog.messages == [f"Worker {W1} held jobs that it did not know of; released: 2"]
    process._release_unknown()
    assert len(caplog.messages) == 1


def test_rows_of_all_its_threads_are_known(runs):
    runs(SLEEP)
    process = Process(W1, Configuration(threads=3), wakeup=2)
    try:
        known = [claim(W1), claim(W1)]
        for slot, rows in zip(process.activity.slots, known, strict=False):
            slot.claim(rows[0].lock_token)
        claim(W1)
        process._release_unknown()
        assert {row.pk for row in DelayedJob.objects.running()} == {row.pk for rows in known for row in rows}
    finally:
        process._popen.kill()
        process._popen.wait()
        process.close()


def test_rows_that_were_claimed_within_a_lease_are_not_released(process):
    claim(W1)
    DelayedJob.objects.update(locked_at=timezone.now() - delayed.LEASE / 2)
    process._release_unknown()
    assert held_by(W1) == 2


def test_nothing_is_released_while_a_claim_may_last_for_as_long(process, settings):
    settings.DJANGO_DELAYED = {"LEASE": timedelta(seconds=0.2)}
    claim(W1)
    process.activity.slots[0].begin_statement()
    until(lambda: process.activity.slots[0].in_statement_for > delayed.LEASE / 2)
    process._release_unknown()
    assert held_by(W1) == 2
    process.activity.slots[0].end_statement()
    process._release_unknown()
    assert held_by(W1) == 0


def test_a_worker_with_a_heartbeat_is_not_lost(process):
    register(W1, Configuration())
    process.send_heartbeat()
    process.watch()
    assert not process.was_killed
    assert not process.activity.is_stale(timedelta(seconds=60))
