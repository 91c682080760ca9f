"""Eight real worker processes at one queue: each row goes to one of them, and none gets an error."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from django.db import connection
from django_delayed.models import DelayedJob, FailedAttempt

CROWD = Path(__file__).with_name("crowd.py")
JOBS, PRODUCERS, WORKERS = 4000, 2, 8
SECONDS = 90

vendor = connection.vendor


class Crowd:
    """Processes of crowd.py on one database; what they print goes to files, so that none waits for a pipe."""

    def __init__(self, environment, folder):
        self.environment, self.folder = environment, folder
        self.processes = []

    def start(self, *arguments):
        path = self.folder / f"{len(self.processes)}.txt"
        with path.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, CROWD, *map(str, arguments)],
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.processes.append(process)
        process.output = path
        return process

    def start_workers(self, verb):
        workers = [self.start(verb, number, 1 if number % 2 else 25) for number in range(WORKERS)]
        for worker in workers:
            until(lambda worker=worker: worker.poll() is not None or worker.output.read_text())
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        return workers

    def finish(self, process):
        process.stdin.close()
        assert (process.wait(SECONDS), self.printed(process)[1]) == (0, [])

    def printed(self, process):
        """The ids that it has claimed, and everything else that it has printed."""
        lines = process.output.read_text().removeprefix("ready\n").splitlines()
        return [int(line) for line in lines if line.isdigit()], [line for line in lines if not line.isdigit()]

    def end(self):
        for process in self.processes:
            process.kill()
            process.wait()
            process.stdin.close()


def until(holds):
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


OWN = "Django's own options"
# SQLite is configured to wait 20 s for a lock, so that hardly any lock would become an error.
AT_ONCE = "a lock is an error at once"
REPEATABLE, SERIALIZABLE = "repeatable read", "serializable"
LEVELS = {REPEATABLE: 3, SERIALIZABLE: 4}  # as psycopg numbers them
ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "DJANGO_SETTINGS_MODULE": os.environ.get("DJANGO_SETTINGS_MODULE", "settings"),
    "PYTHONPATH": os.pathsep.join(
        [str(ROOT), str(ROOT / "testproject"), *filter(None, [os.environ.get("PYTHONPATH")])]
    ),
    "PYTHONWARNINGS": "error",
}


@pytest.fixture
def crowd(request, child_environment, tmp_path):
    """A crowd on the database of the tests, with the options of the test's parameter."""
    environment, asked = child_environment | SETTINGS, request.param
    if asked == OWN:
        # It has its own file, because journal_mode = WAL is stored in the file.
        environment |= {"DATABASE_NAME": str(tmp_path / "own.sqlite3"), "SQLITE_DEFAULTS": "1"}
        migrate = [sys.executable, "-m", "django", "migrate", "-v0", "django_delayed"]
        subprocess.run(migrate, env=environment, check=True)
    elif asked == AT_ONCE:
        environment |= {"DATABASE_OPTIONS": json.dumps({"timeout": 0})}
    elif asked in LEVELS:
        level = asked if vendor == "mysql" else LEVELS[asked]
        environment |= {"DATABASE_OPTIONS": json.dumps({"isolation_level": level})}
    crowd = Crowd(environment, tmp_path)
    yield crowd
    crowd.end()


def under(**options):
    return pytest.mark.parametrize("crowd", ["as configured", *options.get(vendor, [])], indirect=True)


@under(sqlite=[OWN], mysql=[REPEATABLE])
def test_each_row_is_claimed_once_while_producers_insert(crowd):
    crowd.finish(crowd.start("fill", JOBS))
    workers = crowd.start_workers("work")
    producers = [crowd.start("produce", f"producer {number}", 100) for number in range(PRODUCERS)]
    for producer in producers:
        crowd.finish(producer)
    for worker in workers:
        crowd.finish(worker)
    claimed = Counter(pk for worker in workers for pk in crowd.printed(worker)[0])
    assert len(claimed) == JOBS + PRODUCERS * 100
    assert set(claimed.values()) == {1}


@under(sqlite=[OWN, AT_ONCE], mysql=[REPEATABLE], postgresql=[SERIALIZABLE])
def test_concurrent_moves_of_every_kind_end_without_an_error(crowd):
    crowd.finish(crowd.start("fill", 200))
    workers = crowd.start_workers("shuffle")
    for worker in workers:
        crowd.finish(worker)
    if crowd.environment["DATABASE_NAME"] == str(connection.settings_dict["NAME"]):
        assert not DelayedJob.objects.exclude(pk__in=DelayedJob.objects.failed()).exists()
        assert not FailedAttempt.objects.exclude(delayed_job__in=DelayedJob.objects.all()).exists()
