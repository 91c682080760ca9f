"""Workers in processes of their own: started, read, waited for, and never left behind."""

import json
import os
import re
import select
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from django.db import connection
from django_delayed.models import DelayedJob, WorkerProcess
from tests.playground.ledger import Ledger
from tests.playground.waiting import PATIENCE, until

MANAGE = Path(__file__).parents[2] / "testproject" / "manage.py"


def children_of(pid):
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True)
    return [int(line) for line in listed.stdout.split()]


def is_alive(pid):
    """Whether the process runs; a zombie does not."""
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return bool(listed.stdout.strip()) and not listed.stdout.startswith("Z")


def hangup(action):
    """Start a process with this action for SIGHUP; under nohup it would inherit that it is ignored."""
    return {"preexec_fn": lambda: signal.signal(signal.SIGHUP, action)}


class Command:
    """A running manage.py, and every line that it and its children have written so far."""

    def __init__(self, process):
        self.process = process
        self.pid = process.pid
        self.lines = []
        self.children = set()
        self._rest = b""
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        if process.stdout:
            os.set_blocking(process.stdout.fileno(), False)
            self._reader.start()

    def _read(self):
        while self._take():
            select.select([self.process.stdout], [], [])

    def _take(self):
        """Add what is in the pipe to the lines; false once nobody writes to it any more."""
        with self._lock:
            try:
                while data := os.read(self.process.stdout.fileno(), 1 << 16):
                    *lines, self._rest = (self._rest + data).split(b"\n")
                    self.lines += [line.decode() for line in lines]
            except BlockingIOError:
                return True
            if self._rest:
                self.lines.append(self._rest.decode())
                self._rest = b""
            return False

    @property
    def output(self):
        return "\n".join(self.lines)

    def said(self, pattern):
        """The lines that match, of all that were written before the call."""
        if self._reader.is_alive():
            self._take()
        return [line for line in list(self.lines) if re.search(pattern, line)]

    def has_said(self, pattern, times=1):
        """Wait for so many lines that match; gives them."""
        until(lambda: len(self.said(pattern)) >= times or not self._reader.is_alive())
        assert len(self.said(pattern)) >= times, self.output
        return self.said(pattern)

    @property
    def child(self):
        """The process id of its one worker; waits until there is one."""
        (pid,) = until(lambda: children_of(self.pid))
        self.children.add(pid)
        return pid

    def send(self, signum, to=None):
        os.kill(to or self.pid, signum)

    def ends(self):
        """Wait until it has ended and nobody writes to its output; gives the exit code."""
        code = self.process.wait(PATIENCE)
        self._reads_to_the_end()
        return code

    def _reads_to_the_end(self):
        if self.process.stdout:
            self._reader.join(PATIENCE)

    def stop(self, signum=signal.SIGTERM):
        self.send(signum)
        return self.ends()

    def end(self):
        """End it and its children, whatever they are doing."""
        if self.process.poll() is None:
            self.process.send_signal(
                signal.SIGSTOP
            )  # otherwise it would start a new child for the one that is killed
            self.children.update(children_of(self.pid))
            self.process.kill()
        for pid in self.children:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        for pid in self.children:
            until(lambda pid=pid: not is_alive(pid))
        self.process.wait()
        self._reads_to_the_end()
        print(self.output)  # pytest shows it when the test has failed


@pytest.fixture
def command(manage, settings):
    """Start a command of the playground's project; `delayed` is its DJANGO_DELAYED."""
    settings.DJANGO_DELAYED = {"TRUSTED_MODULES": ["tests.playground"]}
    commands = []

    def start(*arguments, delayed=None, environment=None, **options):
        environment = {
            "DJANGO_SETTINGS_MODULE": "tests.playground.settings",
            "DELAYED": json.dumps(delayed or {}),
        } | (environment or {})
        commands.append(Command(manage(*arguments, environment=environment, **options)))
        return commands[-1]

    yield start
    for started in commands:
        started.end()


@pytest.fixture
def work(command):
    """Start a worker that looks for jobs often."""

    def start(*arguments, **options):
        return command("jobs_work", "--sleep-delay", "0.1", *arguments, **options)

    return start


@pytest.fixture
def ledger(tmp_path):
    """The file into which jobs write what they do."""
    path = tmp_path / "ledger"
    path.touch()
    return Ledger(path)


def workers():
    """The ids of the registered workers, by the ids of their processes."""
    return {row.pid: row.pk for row in WorkerProcess.objects.all()}


def started(run, times):
    """The workers, once so many have started; their processes are ended with the test."""
    run.has_said("Worker [0-9a-f]{32} started", times)
    found = until(lambda: set(workers()) == set(children_of(run.pid)) and workers())
    run.children.update(found)
    return found


def no_job_is_left():
    return not DelayedJob.objects.exists()


def nothing_is_held():
    """Whether no worker is registered and no job is held, as after every stop."""
    return not WorkerProcess.objects.exists() and not DelayedJob.objects.running().exists()


is_on = connection.vendor
