"""How soon an idle worker begins a job, beside a bare listener or looker; and what idling costs.

    python benchmarks/latency.py [--database sqlite|postgresql|mariadb] [--jobs 200] [--idle 60]

Jobs are enqueued one by one, each when the worker sleeps. A job writes down when it began; the time is that
from before its enqueue. The bare contender does the least that the database allows: a LISTEN, a look at the
version every 10 ms, a look at the table every 200 ms. The CPU is that of supervisor and worker together.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ["DJANGO_SETTINGS_MODULE"] = "bench_settings"

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument(
    "--database", choices=["sqlite", "postgresql", "mariadb"], default=os.environ.get("DATABASE", "sqlite")
)
parser.add_argument("--jobs", type=int, default=200)
parser.add_argument("--idle", type=int, default=60, help="seconds")
options = parser.parse_args()
os.environ["DATABASE"] = options.database

import django  # noqa: E402

django.setup()

from django.db import connection  # noqa: E402
from django_delayed.models import DelayedJob  # noqa: E402
from scratch import scratch_database  # noqa: E402
from workload import Began, Nothing  # noqa: E402

GAP = 0.15  # seconds between two jobs


def in_ms(times):
    ordered = sorted(seconds * 1000 for seconds in times)
    return f"p50 {ordered[len(ordered) // 2]:6.1f} ms, p99 {ordered[len(ordered) * 99 // 100]:6.1f} ms"


def worker(file):
    """The times until jobs began, and the share of a core that an idle worker takes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "django", "jobs_work"],
        env={**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}"},
    )
    try:
        for _ in range(options.jobs + 1):
            Began.perform_later(file.name, time.monotonic())
            while DelayedJob.objects.exists():
                time.sleep(0.01)
            time.sleep(GAP)
        before = cpu_of(process.pid)
        time.sleep(options.idle)
        share = (cpu_of(process.pid) - before) / options.idle
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    # The first job has waited for the worker to start.
    return [float(line) for line in file.read().splitlines()][1:], share


def cpu_of(pid):
    """The seconds of CPU that the process and its children have taken."""
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    seconds = 0.0
    for one in (pid, *map(int, listed.stdout.split())):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


def bare():
    """The times until a thread with a connection of its own has seen a new row."""
    times, seen, stop = [], threading.Event(), threading.Event()
    began = [0.0]

    def watch():
        other = connection.copy("default")
        other.ensure_connection()
        wait = {"postgresql": listen, "sqlite": look_at_version, "mysql": look_at_table}[other.vendor](other)
        ready.set()
        while not stop.is_set():
            if wait():
                times.append(time.monotonic() - began[0])
                seen.set()
        other.close()

    ready = threading.Event()
    thread = threading.Thread(target=watch)
    thread.start()
    ready.wait()
    for _ in range(options.jobs):
        seen.clear()
        began[0] = time.monotonic()
        row = Nothing.perform_later()
        assert seen.wait(30)
        row.delete()
        time.sleep(GAP)
    stop.set()
    thread.join()
    return times[: options.jobs]


def listen(other):
    session = other.connection
    session.execute("LISTEN django_delayed")
    return lambda: [*session.notifies(timeout=0.5, stop_after=1)]


def look_at_version(other):
    version = [0]

    def wait():
        time.sleep(0.01)
        before, [version[0]] = version[0], other.connection.execute("PRAGMA data_version").fetchone()
        return version[0] != before and other.connection.execute(f"SELECT 1 FROM {TABLE}").fetchone()

    return wait


def look_at_table(other):
    def wait():
        time.sleep(0.2)
        with other.cursor() as cursor:
            cursor.execute(f"SELECT 1 FROM {TABLE} LIMIT 1")
            return cursor.fetchone()

    return wait


TABLE = DelayedJob._meta.db_table


def main():
    with tempfile.NamedTemporaryFile("r") as file:
        times, share = worker(file)
    print(f"{connection.vendor}, {options.jobs} jobs")
    print(f"{'bare':12}{in_ms(bare())}")
    print(f"{'jobs_work':12}{in_ms(times)}; idle for {options.idle} s: {share:.2%} of a core")


if __name__ == "__main__":
    with scratch_database():
        main()
