"""If setproctitle is installed, the titles of the processes of jobs_work say what they do."""

import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from django_delayed.models import DelayedJob
from django_delayed.signals import job_started, queue_empty
from django_delayed.worker import titles
from django_delayed.worker.titles import show, show_job, supervisor_titled, title_worker
from tests.playground.jobs import Gated
from tests.playground.processes import children_of, no_job_is_left, until

ROW = DelayedJob(name="Post.send_to_twitter", queue="mail")


def title_of(pid):
    listed = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True)
    return listed.stdout.strip()


def has_title(pid, pattern):
    until(lambda: re.fullmatch(pattern, title_of(pid)))


PERFORMING = r"performing Gated since \d\d:\d\d \(mail\)"


def test_the_titles_of_a_supervisor_and_its_worker_say_what_they_do(work, ledger):
    host = work()
    worker = host.child
    has_title(host.pid, "jobs_work: supervisor of 1 worker")
    has_title(worker, "jobs_work: idle")
    Gated.set(queue="mail").perform_later(str(ledger), str(ledger.gate))
    has_title(worker, f"jobs_work: {PERFORMING}")
    ledger.open_gate()
    has_title(worker, "jobs_work: idle")
    host.send(signal.SIGUSR2)
    has_title(worker, "jobs_work: quiet")
    host.send(signal.SIGCONT)
    has_title(worker, "jobs_work: idle")
    assert host.stop() == 0


def test_the_process_of_an_isolated_job_says_what_it_performs(work, ledger):
    host = work("--isolate")
    worker = host.child
    Gated.set(queue="mail").perform_later(str(ledger), str(ledger.gate))
    [child] = until(lambda: children_of(worker))
    has_title(child, f"jobs_work: {PERFORMING}")
    has_title(worker, f"jobs_work: {PERFORMING}".replace("performing", "isolating"))
    ledger.open_gate()
    until(no_job_is_left)
    has_title(worker, "jobs_work: idle")
    assert host.stop() == 0


def test_the_title_of_a_worker_with_threads_says_so(work, ledger):
    host = work("--processes", "2", "--threads", "3")
    has_title(host.pid, "jobs_work: supervisor of 2 workers")
    for worker in until(lambda: len(children_of(host.pid)) == 2 and children_of(host.pid)):
        has_title(worker, "jobs_work: performing in 3 threads")
    assert host.stop() == 0


@pytest.fixture
def shown(monkeypatch):
    """The titles that the process has shown."""
    found = ["before"]
    stand_in = SimpleNamespace(setproctitle=found.append, getproctitle=lambda: found[-1])
    monkeypatch.setattr(titles, "setproctitle", stand_in)
    yield found
    job_started.disconnect(titles._show_performing)
    queue_empty.disconnect(titles.show_rest)
    titles._show, titles._at_rest = None, "idle"


def test_a_title_is_one_line_of_bounded_length(shown):
    title_worker(1)
    show_job("performing", DelayedJob(name="a\n\x1b" + "x" * 1000, queue="mail"))
    assert shown[-1].startswith(r"jobs_work: performing a\n\x1bxxx")
    assert len(shown[-1]) == len("jobs_work: ") + titles.LONGEST


def test_the_program_that_has_called_the_command_gets_its_title_back(shown):
    with supervisor_titled(2):
        assert shown[-1] == "jobs_work: supervisor of 2 workers"
    assert shown[-1] == "before"


def test_no_other_process_gets_a_title(shown):
    show("quiet")
    show_job("performing", ROW)
    job_started.send_robust(sender=None, delayed_job=ROW)
    assert shown == ["before"]


def test_without_the_package_no_receiver_is_connected(monkeypatch):
    monkeypatch.setattr(titles, "setproctitle", None)
    receivers = list(job_started.receivers)
    title_worker(1)
    show_job("performing", ROW)
    with supervisor_titled(1):
        pass
    assert job_started.receivers == receivers
    assert titles._show is None


def test_the_package_is_optional(child_environment):
    code = (
        "import sys; sys.modules['setproctitle'] = None; import django; django.setup();"
        " from django_delayed.worker import titles; print(titles.setproctitle)"
    )
    run = [sys.executable, "-c", code]
    environment = {**child_environment, "DJANGO_SETTINGS_MODULE": "tests.playground.settings"}
    assert subprocess.run(run, env=environment, capture_output=True, text=True).stdout == "None\n"
