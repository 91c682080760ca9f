"""The processes of a contender as the benchmark sees them: one that it asks, and workers that it watches."""

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from .contenders import ROOT
from .environment import CACHE

LOOK_EVERY = 0.002  # seconds
STARTS_WITHIN = 60.0
STOPS_WITHIN = 20.0


class NotMeasured(Exception):
    """The contender could not do what was to be measured; the message says why."""


class Entry:
    """One contender on one database: its environment, and the file to which its jobs write."""

    def __init__(self, contender, database, python):
        self.contender, self.database, self.python = contender, database, python
        name = f"dd_bench_{contender.name}"
        memory = Path("/dev/shm")
        self.performed = (memory if memory.is_dir() else CACHE) / f"{name}_{database}_{os.getpid()}"
        self.log = CACHE / f"{name}_{database}.log"
        self.control_log = CACHE / f"{name}_{database}.control.log"
        self.environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'testproject'}",
            "DJANGO_SETTINGS_MODULE": contender.settings,
            "DATABASE": database,
            "DATABASE_NAME": str(CACHE / f"{name}.sqlite3") if database == "sqlite" else name,
            "BENCH_PERFORMED": str(self.performed),
        }

    def start(self, *arguments, **streams):
        """A process of the contender's Python, in a group of its own."""
        command = [self.python, "-m", *arguments]
        return subprocess.Popen(command, env=self.environment, cwd=CACHE, start_new_session=True, **streams)

    def performed_jobs(self):
        """How many jobs have been performed."""
        return self.performed.stat().st_size if self.performed.exists() else 0

    def forget_performed(self):
        """Start to count at 0 again."""
        self.performed.unlink(missing_ok=True)


class Control:
    """A block with a process that does what is asked of it."""

    def __init__(self, entry):
        self.entry = entry

    def __enter__(self):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with self.entry.control_log.open("a") as log:
            self.process = self.entry.start(
                "benchmarks.control", self.entry.contender.family, stderr=log, **pipes
            )
        return self

    def __exit__(self, *_):
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        stop(self.process)

    def ask(self, *request):
        """Ask, and return the answer. Raises NotMeasured if the process cannot do it."""
        self.tell(*request)
        return self.hear()

    def tell(self, *request):
        """Ask without waiting for the answer."""
        # If the process has ended, `hear` says so.
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()

    def hear(self):
        """The answer to the last request. Raises NotMeasured if the process cannot do it."""
        line = self.process.stdout.readline()
        answer = (
            json.loads(line) if line else {"error": f"its process ended: {end_of(self.entry.control_log)}"}
        )
        if "answer" in answer:
            return answer["answer"]
        raise NotMeasured(answer.get("cannot") or answer["error"].strip().splitlines()[-1])


class Workers:
    """A block with `number` workers of the contender, started in the way of that name."""

    def __init__(self, entry, way, number=1):
        self.entry, self.way, self.number = entry, way, number

    def __enter__(self):
        arguments = self.entry.contender.workers[self.way]
        with self.entry.log.open("w") as log:
            self.processes = [
                self.entry.start(*arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                for _ in range(self.number)
            ]
        return self

    def __exit__(self, *_):
        for process in self.processes:
            stop(process)

    def wait_until(self, count, seconds):
        """Wait until so many jobs are performed; returns the monotonic time, or None if it took too long."""
        deadline = time.monotonic() + seconds
        while self.entry.performed_jobs() < count:
            if any(process.poll() is not None for process in self.processes):
                raise NotMeasured(f"a worker ended: {end_of(self.entry.log)}")
            if time.monotonic() > deadline:
                return None
            time.sleep(LOOK_EVERY)
        return time.monotonic()

    def wait_until_begun(self):
        """Wait for the first performed job; returns the monotonic time."""
        began = self.wait_until(1, STARTS_WITHIN)
        if began is None:
            raise NotMeasured(f"no job was performed in {STARTS_WITHIN:.0f} s: {end_of(self.entry.log)}")
        return began


def stop(process):
    """End a process and whatever it has started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOPS_WITHIN
    # This does not reap the process: no other one can have its id when its group is killed.
    ended = os.WEXITED | os.WNOWAIT | os.WNOHANG
    while (
        process.returncode is None
        and time.monotonic() < deadline
        and not os.waitid(os.P_PID, process.pid, ended)
    ):
        time.sleep(LOOK_EVERY)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def end_of(log):
    """The last line that the contender has logged."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it has logged nothing"
