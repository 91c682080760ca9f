"""In development, new code is loaded without a restart by hand, and never in the middle of a job."""

import json
import os
import re
import time
from pathlib import Path

import pytest
from django_delayed.models import DelayedJob
from django_delayed.supervisor.restart import RETRY_BROKEN_CODE_AFTER
from django_delayed.worker.reload import LOOK_EVERY
from tests.playground.processes import children_of, no_job_is_left, nothing_is_held, until

ROOT = Path(__file__).parents[2]
MODULE = """
import time
from pathlib import Path

from django_delayed import Job
from tests.playground.jobs import note

VERSION = "{version}"{padding}


class Tell(Job):
    def perform(self, ledger):
        note(ledger, VERSION)


class TellTwice(Job):
    def perform(self, ledger, gate):
        note(ledger, VERSION)
        while not Path(gate).exists():
            time.sleep(0.01)
        note(ledger, VERSION)
"""


class Code:
    """An app of a project, edited while its worker runs."""

    def __init__(self, folder):
        self.folder = folder / "edited"
        self.folder.mkdir()
        (self.folder / "__init__.py").touch()
        self._saves = 0
        self.save("old")

    def save(self, version, module=MODULE):
        # Each version has another size: Python knows compiled code by the second and the size of its source.
        self._saves += 1
        text = module.format(version=version, padding="  # edited" * self._saves)
        (self.folder / "jobs.py").write_text(text)

    def enqueue(self, name, *arguments, times=1):
        """Write the rows that a process with this code would write; this process never loads the code."""
        payload = json.dumps(
            {"v": 1, "job": f"edited.jobs:{name}", "args": list(map(str, arguments)), "kwargs": {}}
        )
        DelayedJob.objects.bulk_create([DelayedJob(name=name, payload=payload) for _ in range(times)])


@pytest.fixture
def code(tmp_path):
    return Code(tmp_path)


@pytest.fixture
def develop(work, code):
    """Start a worker like on the machine of a developer."""

    def start(*arguments, **options):
        path = [code.folder.parent, ROOT, ROOT / "testproject"]
        environment = {"DEBUG": "1", "APPS": "edited", "PYTHONPATH": os.pathsep.join(map(str, path))}
        worker = work(*arguments, environment=environment, **options)
        worker.has_said("Worker .* started")
        return worker

    return start


def ids_of(worker):
    return [re.search(r"Worker (\S+) started", line)[1] for line in worker.said("Worker .* started")]


def test_an_idle_worker_loads_what_has_changed(develop, code, ledger):
    worker = develop()
    code.enqueue("Tell", ledger)
    ledger.has("old")
    code.save("new")
    worker.has_said("Worker .* started", times=2)
    assert worker.said(r"edited/jobs.py has changed; reloading the code")
    code.enqueue("Tell", ledger)
    ledger.has("new")
    assert ledger.lines == ["old", "new"]
    assert len(set(ids_of(worker))) == 2
    assert worker.stop() == 0
    assert nothing_is_held()


def test_a_job_is_performed_to_its_end_by_the_code_that_it_began_with(develop, code, ledger):
    worker = develop()
    code.enqueue("TellTwice", ledger, ledger.gate)
    ledger.has("old")
    code.save("new")
    code.enqueue("Tell", ledger)
    ledger.open_gate()
    ledger.has("old", times=2)
    until(no_job_is_left)
    worker.has_said("Worker .* started", times=2)
    code.enqueue("Tell", ledger)
    ledger.has("new")
    until(no_job_is_left)
    assert ledger.lines[:2] == ["old", "old"]
    assert ledger.lines[-1] == "new"
    assert worker.stop() == 0


def test_in_a_long_queue_new_code_is_loaded_after_a_hundred_jobs_at_most(develop, code, ledger):
    worker = develop()
    code.enqueue("TellTwice", ledger, ledger.gate)
    ledger.has("old")
    code.enqueue("Tell", ledger, times=250)
    code.save("new")
    ledger.open_gate()
    until(no_job_is_left)
    performed_by_old_code = ledger.lines.count("old")
    assert 2 <= performed_by_old_code <= 101
    assert ledger.lines == ["old"] * performed_by_old_code + ["new"] * (252 - performed_by_old_code)
    assert len(worker.said("Worker .* started")) == 2
    assert worker.stop() == 0
    assert nothing_is_held()


def test_a_busy_worker_looks_for_new_code_between_two_jobs(develop, code, ledger):
    worker = develop()
    gates = [f"{ledger.gate} {number}" for number in range(3)]
    for gate in gates:
        code.enqueue("TellTwice", ledger, gate)
    ledger.has("old")
    code.save("new")
    saved = (code.folder / "jobs.py").stat().st_mtime
    until(lambda: time.time() > saved + LOOK_EVERY)
    for gate in gates:
        Path(gate).touch()
    until(no_job_is_left)
    assert ledger.lines == ["old"] * 2 + ["new"] * 4
    assert worker.stop() == 0


def test_after_a_repair_the_next_change_is_loaded_at_once(develop, code, ledger):
    worker = develop()
    code.save("broken", module="class Tell(:  # {version}{padding}\n")
    worker.has_said("Waiting for the code to be repaired")
    code.save("repaired")
    worker.has_said("Worker .* started", times=2)
    code.save("newer")
    # This is far less than the time that is left until broken code would be tried again.
    until(lambda: len(worker.said("Worker .* started")) == 3, patience=RETRY_BROKEN_CODE_AFTER / 2)
    code.enqueue("Tell", ledger)
    ledger.has("newer")
    assert worker.stop() == 0


def test_unchanged_code_is_not_loaded_again(develop, code, ledger):
    worker = develop()
    code.enqueue("Tell", ledger, times=250)
    until(no_job_is_left)
    assert len(ledger.lines) == 250
    assert len(worker.said("Worker .* started")) == 1
    assert worker.stop() == 0


def test_broken_code_is_reported_and_its_repair_is_noticed(develop, code, ledger):
    worker = develop()
    code.save("broken", module="class Tell(:  # {version}{padding}\n")
    worker.has_said("Waiting for the code to be repaired")
    assert worker.said("SyntaxError")
    code.enqueue("Tell", ledger)
    assert children_of(worker.pid) == []
    code.save("repaired")
    ledger.has("repaired")
    until(no_job_is_left)
    assert worker.stop() == 0
    assert nothing_is_held()


def test_a_worker_that_waits_for_a_repair_can_be_stopped(develop, code):
    worker = develop()
    code.save("broken", module="class Tell(:  # {version}{padding}\n")
    worker.has_said("Waiting for the code to be repaired")
    assert worker.stop() == 0
    assert nothing_is_held()


def test_a_setting_turns_it_off(develop, code, ledger):
    worker = develop(delayed={"RELOAD": False})
    code.save("new")
    code.enqueue("Tell", ledger, times=150)
    until(no_job_is_left)
    assert set(ledger.lines) == {"old"}
    assert len(worker.said("Worker .* started")) == 1
    assert worker.stop() == 0


def test_jobs_workoff_keeps_the_code_that_it_has_loaded(command, code, ledger):
    code.enqueue("TellTwice", ledger, ledger.gate)
    code.enqueue("Tell", ledger, times=150)
    path = [code.folder.parent, ROOT, ROOT / "testproject"]
    environment = {"DEBUG": "1", "APPS": "edited", "PYTHONPATH": os.pathsep.join(map(str, path))}
    run = command("jobs_workoff", environment=environment)
    ledger.has("old")
    code.save("new")
    ledger.open_gate()
    assert run.ends() == 0
    assert ledger.lines == ["old"] * 152
