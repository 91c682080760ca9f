"""Work off no-op jobs with one worker, settled one by one, beside bare SQL that claims and deletes likewise.

    python benchmarks/throughput.py [--database sqlite|postgresql] [--jobs 10000] [--rounds 3]

Both empty the same table, filled in the same way, in turns. The worker is the real command with its
supervisor, logging at INFO to a file. It is timed from its first log line about a job to its last, without
its start.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ["DJANGO_SETTINGS_MODULE"] = "bench_settings"

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument(
    "--database", choices=["sqlite", "postgresql"], default=os.environ.get("DATABASE", "sqlite")
)
parser.add_argument("--jobs", type=int, default=10_000)
parser.add_argument("--rounds", type=int, default=3)
options = parser.parse_args()
os.environ["DATABASE"] = options.database

import django  # noqa: E402

django.setup()

from django.db import connection  # noqa: E402
from django_delayed import enqueue_all  # noqa: E402
from django_delayed.models import DelayedJob  # noqa: E402
from scratch import scratch_database  # noqa: E402
from workload import Nothing  # noqa: E402

LINE = re.compile(r"^([\d.]+) INFO Nothing #\d+ (RUNNING|COMPLETED)", re.MULTILINE)
PICK = {
    "postgresql": "UPDATE {table} SET claimable = NULL, locked_at = statement_timestamp(),"
    " locked_by = 'bare', attempts = attempts + 1"
    " WHERE id = (SELECT id FROM {table} WHERE claimable = 1 AND queue = 'default'"
    " ORDER BY queue, priority, run_at, id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id, payload",
    "sqlite": "UPDATE {table} SET claimable = NULL, locked_at = strftime('%Y-%m-%d %H:%M:%f', 'now'),"
    " locked_by = 'bare', attempts = attempts + 1 WHERE id = (SELECT id FROM {table} WHERE claimable = 1"
    " AND queue = 'default' ORDER BY queue, priority, run_at, id LIMIT 1) RETURNING id, payload",
}


def fill(jobs):
    DelayedJob.objects.all().delete()
    enqueue_all([Nothing() for _ in range(jobs)])
    with connection.cursor() as cursor:
        cursor.execute(
            "VACUUM ANALYZE django_delayed_delayedjob" if connection.vendor == "postgresql" else "ANALYZE"
        )


def bare(jobs):
    """Jobs a second of two statements a job on the driver's own cursor, each its own commit."""
    connection.ensure_connection()
    cursor = connection.connection.cursor()
    table = DelayedJob._meta.db_table
    claim, mark = PICK[connection.vendor].format(table=table), "?" if connection.vendor == "sqlite" else "%s"
    began = time.perf_counter()
    done = 0
    while row := cursor.execute(claim).fetchall():
        cursor.execute(f"DELETE FROM {table} WHERE id = {mark}", (row[0][0],))
        done += 1
    assert done == jobs
    return jobs / (time.perf_counter() - began)


def worker(jobs):
    """Jobs a second of `jobs_work` with one worker."""
    with tempfile.NamedTemporaryFile("r") as log:
        subprocess.run(
            [sys.executable, "-m", "django", "jobs_work", "--sleep-delay", "0"],
            env={**os.environ, "BENCH_LOG": log.name, "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}"},
            check=True,
            timeout=300,
        )
        lines = LINE.findall(log.read())
    assert sum(word == "COMPLETED" for _, word in lines) == jobs
    return jobs / (float(lines[-1][0]) - float(lines[0][0]))


def main():
    contenders = {"bare SQL": bare, "jobs_work": worker}
    rates = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, contender in contenders.items():
            fill(options.jobs)
            rates[name].append(contender(options.jobs))
    base = statistics.median(rates["bare SQL"])
    print(f"{connection.vendor}, {options.jobs:,} jobs, median of {options.rounds} rounds")
    for name, measured in rates.items():
        rate, lowest, highest = statistics.median(measured), min(measured), max(measured)
        print(
            f"{name:26}{rate:>8,.0f} jobs/s  {rate / base:.2f} of bare SQL  ({lowest:,.0f} to {highest:,.0f})"
        )


if __name__ == "__main__":
    with scratch_database():
        main()
