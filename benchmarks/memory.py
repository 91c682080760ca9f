"""Whether a worker grows: its memory and its open files over 200,000 jobs.

    python benchmarks/memory.py [--database sqlite|postgresql|mariadb] [--jobs 200000] [--nothing]

Each job reads and writes a row over a connection of its own, and each hundredth fails; with `--nothing`, each
does nothing. They are performed in ten equal parts by one worker, which has performed 5,000 before that, when
all that it needs is loaded. Its growth is that from then on.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ["DJANGO_SETTINGS_MODULE"] = "bench_settings"

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument(
    "--database", choices=["sqlite", "postgresql", "mariadb"], default=os.environ.get("DATABASE", "sqlite")
)
parser.add_argument("--jobs", type=int, default=200_000)
parser.add_argument("--nothing", action="store_true", help="jobs that do nothing")
options = parser.parse_args()
os.environ["DATABASE"] = options.database

import django  # noqa: E402

django.setup()

from django.db import connection  # noqa: E402
from django_delayed import enqueue_all  # noqa: E402
from django_delayed.models import DelayedJob, WorkerProcess  # noqa: E402
from scratch import scratch_database  # noqa: E402
from workload import Everyday, Nothing  # noqa: E402

WARM_UP, PARTS = 5_000, 10


def megabytes_of(pid):
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def files_of(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def state_of(pids):
    """The memory and the open files of each process, when the worker is idle."""
    # The connection of its last job is closed when it sleeps.
    time.sleep(1)
    return [(megabytes_of(pid), files_of(pid)) for pid in pids]


def perform(count):
    """Enqueue so many jobs, and wait until they are performed."""
    for start in range(0, count, 1_000):
        numbers = range(start, min(start + 1_000, count))
        enqueue_all([Nothing() if options.nothing else Everyday(number) for number in numbers])
    while DelayedJob.objects.waiting().exists() or DelayedJob.objects.running().exists():
        time.sleep(0.2)


def measure(supervisor):
    while not WorkerProcess.objects.exclude(pid=supervisor.pid).exists():
        time.sleep(0.1)
    pids = supervisor.pid, WorkerProcess.objects.get().pid
    perform(WARM_UP)
    states = [state_of(pids)]
    for _ in range(PARTS):
        perform(options.jobs // PARTS)
        states.append(state_of(pids))
    for name, *of in zip(("supervisor", "worker"), *states, strict=True):
        grown = max(memory for memory, _ in of) - of[0][0]
        path = " ".join(f"{memory:.1f}" for memory, _ in of)
        files = sorted({files for _, files in of})
        print(f"{name:12}grows by {grown:4.1f} MB: {path}; open files: {files}")


def main():
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "django", "jobs_work"],
        env={**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}"},
    )
    try:
        print(f"{connection.vendor}, {options.jobs:,} jobs")
        measure(supervisor)
    finally:
        supervisor.terminate()
        supervisor.wait()


if __name__ == "__main__":
    with scratch_database():
        main()
