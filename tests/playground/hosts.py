"""Hosts, each of them a supervisor with its workers on this machine; and the faults that strike them."""

import json
import os
import signal
from contextlib import suppress
from pathlib import Path

from django_delayed.models import DelayedJob
from tests.playground.processes import children_of
from tests.playground.waiting import PATIENCE, until

# There is no line for each job: this process would have to read them while it looks for a job to strike.
ONLY_WARNINGS = {
    "version": 1,
    "formatters": {"line": {"format": "%(levelname)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"django_delayed": {"handlers": ["console"], "level": "WARNING"}},
}


def _status(pid):
    """The fields of /proc/PID/stat from the state on; Z if there is no process. Asking ps takes too long."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return ["Z"] + ["0"] * 40


def is_stopped(pid):
    return _status(pid)[0] == "T"


def is_gone(pid):
    return _status(pid)[0] in "ZX"


def parent_of(pid):
    return int(_status(pid)[1])


def cpu_seconds(pids):
    """The CPU time that these processes have taken."""
    ticks = sum(int(ticks) for pid in pids for ticks in _status(pid)[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


def processes_of(hosts):
    """The processes of these hosts: the supervisors and their workers."""
    supervisors = [host.pid for host in hosts]
    return [*supervisors, *(pid for supervisor in supervisors for pid in children_of(supervisor))]


class Hosts:
    """Hosts that perform jobs which write into this ledger; the seed chooses the host that is struck."""

    def __init__(self, start, ledger, rng):
        self._start = start
        self._ledger = ledger
        self._rng = rng
        self.all = []

    def start(self, count=1, *arguments, environment=None, **options):
        """Start so many hosts; gives them."""
        environment = {"LOGGING": json.dumps(ONLY_WARNINGS)} | (environment or {})
        started = [self._start(*arguments, environment=environment, **options) for _ in range(count)]
        self.all += started
        return started

    def of(self, worker):
        """The host with this process of a worker."""
        supervisor = parent_of(worker)
        return next((host for host in self.all if host.pid == supervisor), None)

    def are_at_work(self, started, enqueue):
        """Wait until each of these has begun a job; meanwhile, call `enqueue` whenever no job waits."""

        def all_have_begun():
            if not DelayedJob.objects.waiting().exists():
                enqueue()
            return {*started} <= {self.of(pid) for pid in self._ledger.processes}

        until(all_have_begun)

    def suspend_one_in_a_job(self, *others):
        """Suspend the process of another worker in the middle of a job; gives its id and the job's.

        A worker that is found between two jobs goes on: that would be a fault without effect.
        """
        return until(lambda: self._suspend_any(others))

    def _suspend_any(self, others):
        running = self._ledger.running
        pids = [pid for pid in running if pid not in others and not is_gone(pid)]
        for pid in self._rng.sample(pids, len(pids)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                until(lambda pid=pid: is_stopped(pid) or is_gone(pid))
                if is_stopped(pid) and self._ledger.running.get(pid) == running[pid]:
                    return pid, running[pid]
                os.kill(pid, signal.SIGCONT)
        return None

    def suspend_host_of(self, worker):
        """Suspend the supervisor of the worker too; gives the host."""
        host = self.of(worker)
        host.send(signal.SIGSTOP)
        until(lambda: is_stopped(host.pid))
        return host

    def kill_one_in_a_job(self):
        pid, _ = self.suspend_one_in_a_job()
        os.kill(pid, signal.SIGKILL)

    def said(self, pattern):
        return [line for host in self.all for line in host.said(pattern)]

    def stop(self):
        """Stop all hosts; gives their exit codes."""
        for host in self.all:
            if host.process.poll() is None:
                host.send(signal.SIGTERM)
        return [host.process.wait(PATIENCE) for host in self.all]
