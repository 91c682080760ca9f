"""Claim beside very many rows that are in the way, and from a table of 1,000 with as many lanes, in turns.

    python benchmarks/claim.py [--database sqlite|postgresql|mariadb] [--rows 1000000] [--claims 1000]

In the way are `rows` future rows at a better priority, `rows` ready ones of queues that the worker does not
serve, and a tenth as many failed ones. The tables lie in databases of their own on one server. What is
claimed is finished and replaced, untimed. A claim is timed as a worker makes it, with its commit, which is
mostly the disk's; and without, inside a transaction: the stricter comparison.
"""

import argparse
import os
import statistics
import sys
import time
from datetime import timedelta
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ["DJANGO_SETTINGS_MODULE"] = "bench_settings"

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--database", choices=["sqlite", "postgresql", "mariadb"])
parser.add_argument("--rows", type=int, default=1_000_000, help="future rows, and ready ones not served")
parser.add_argument("--claims", type=int, default=1000, help="timed, of each kind on each table")
options = parser.parse_args()
if options.database:
    os.environ["DATABASE"] = options.database

import django  # noqa: E402
from django.conf import settings  # noqa: E402

name = settings.DATABASES["default"]["NAME"]
settings.DATABASES["crowded"] = {
    **settings.DATABASES["default"],
    "NAME": f"{name}_crowded",
    "TEST": {**settings.DATABASES["default"].get("TEST", {}), "NAME": f"{name}_crowded_test"},
}
django.setup()

from django.db import connections, transaction  # noqa: E402
from django.utils import timezone  # noqa: E402
from django_delayed.databases import DatabaseNow, Filters, insert  # noqa: E402
from django_delayed.models import DelayedJob  # noqa: E402

TABLE = DelayedJob._meta.db_table
SERVED, READY, LANES_NOT_SERVED = "served", 300, 9
FILTERS = Filters(queues=(SERVED,))
NOW, TOMORROW = DatabaseNow(), DatabaseNow(plus=timedelta(days=1))
WORKER = "w" * 32
ROUNDS = 10
ALIAS = {"small": "default", "crowded": "crowded"}
TIDY = {"postgresql": f"VACUUM ANALYZE {TABLE}", "mysql": f"ANALYZE TABLE {TABLE}", "sqlite": "ANALYZE"}


def fill(alias, rows, failed):
    """Write READY jobs in the lane served; before them, failed ones, a future lane, nine lanes not served."""
    multiply(alias, failed, queue=SERVED)
    DelayedJob.objects.using(alias).update(failed_at=timezone.now())
    multiply(alias, rows, queue=SERVED, priority=-10, run_at=TOMORROW)
    for number in range(LANES_NOT_SERVED):
        multiply(alias, rows // LANES_NOT_SERVED, queue=f"not served {number}", priority=-5)
    multiply(alias, READY, queue=SERVED)
    with connections[alias].cursor() as cursor:
        cursor.execute(TIDY[cursor.db.vendor])
        if cursor.db.vendor == "mysql":
            cursor.fetchall()


def multiply(alias, count, **columns):
    """Write `count` equal rows; each statement doubles their number, with 100,000 more at most."""
    first = write(alias, **columns).pk
    fields = ", ".join(field.column for field in DelayedJob._meta.concrete_fields if not field.primary_key)
    written = 1
    while written < count:
        with connections[alias].cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {TABLE} ({fields})"
                f" SELECT {fields} FROM {TABLE} WHERE id >= %s ORDER BY id LIMIT %s",
                [first, min(count - written, 100_000)],
            )
            written += cursor.rowcount


def write(alias, run_at=NOW, **columns):
    row = DelayedJob(name="a job", payload="{}", run_at=run_at, created_at=NOW, **columns)
    insert(connections[alias], [row])
    return row


def claim(alias, limit, commit):
    """Milliseconds of one claim of `limit` jobs; each job is finished, and another one takes its place."""
    jobs = DelayedJob.objects.using(alias)
    rows = []

    def timed():
        began = time.perf_counter()
        rows.extend(jobs.claim(WORKER, limit, FILTERS))
        return (time.perf_counter() - began) * 1000

    took = timed() if commit else None
    with transaction.atomic(using=alias):
        took = took or timed()
        for row in rows:
            jobs.finish(row)
            write(alias, queue=SERVED)
    assert len(rows) == limit
    return took


def measure(claims, *kind):
    """Milliseconds of each claim on each of the two tables, taken in turns, after a round to warm up."""
    taken = {"small": [], "crowded": []}
    for turn in range(ROUNDS + 1):
        for table, times in taken.items():
            measured = [claim(ALIAS[table], *kind) for _ in range(max(claims // ROUNDS, 1))]
            times += measured if turn else []
    return taken


def report(title, taken):
    for table, times in taken.items():
        cuts = statistics.quantiles(times, n=20)
        p5, p50, p95 = cuts[0], cuts[9], cuts[-1]
        print(f"  {title}  {table:8} p5 {p5:7.3f}  p50 {p50:7.3f}  p95 {p95:7.3f} ms")
    ratio = statistics.median(taken["crowded"]) / statistics.median(taken["small"])
    print(f"  {title}  crowded to small: {ratio:.2f}")


def main():
    names = {alias: connections[alias].settings_dict["NAME"] for alias in ("default", "crowded")}
    for alias in names:
        connections[alias].creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        fill("default", 320, 60)  # with what is ready, 1,000 rows
        began = time.perf_counter()
        fill("crowded", options.rows, options.rows // 10)
        took = time.perf_counter() - began
        count = DelayedJob.objects.using("crowded").count()
        vendor = connections["crowded"].vendor
        print(f"{vendor}: a claim beside {count:,} rows ({took:.0f} s to write) and beside 1,000")
        for limit, claims in ((1, options.claims), (50, options.claims // 10)):
            for commit in (True, False):
                title = f"{limit:2} at a time, {'committed' if commit else 'no commit'}"
                report(title, measure(claims, limit, commit))
    finally:
        for alias, name in names.items():
            connections[alias].creation.destroy_test_db(name, verbosity=0)


if __name__ == "__main__":
    main()
