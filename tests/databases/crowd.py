"""One of many processes at one queue; its arguments say what it does. test_crowd.py starts them.

fill N, produce NAME N: enqueue N jobs, in inserts of 100, or one by one.
work NAME LIMIT, shuffle NAME LIMIT: claim until standard input ends, and finish, or move in every way.
DATABASE_OPTIONS, as JSON, go on top of the OPTIONS of the database.
"""

import json
import os
import select
import sys
from datetime import timedelta

import django
from django.conf import settings

options = json.loads(os.environ.get("DATABASE_OPTIONS", "{}"))
settings.DATABASES["default"]["OPTIONS"] = {**settings.DATABASES["default"].get("OPTIONS", {}), **options}
django.setup()

from django.db import connection  # noqa: E402
from django_delayed.databases import DatabaseNow, database, insert  # noqa: E402
from django_delayed.models import DelayedJob  # noqa: E402
from django_delayed.serialization.errors import describe  # noqa: E402

NOW = timedelta(0)
ERROR = describe(ValueError("one of many"))
backend = database(connection)


def fill(count):
    for start in range(0, int(count), 100):
        write(
            [
                DelayedJob(name=f"filled {n}", payload="{}", queue=f"queue {n % 5}", priority=n % 3)
                for n in range(start, min(start + 100, int(count)))
            ]
        )


def produce(name, count):
    for number in range(int(count)):
        write([DelayedJob(name=f"{name} {number}", payload="{}", queue="new", priority=-1)])


def write(rows):
    for row in rows:
        row.run_at = row.created_at = DatabaseNow()
    backend.repeat_on_conflict(lambda: insert(connection, rows))


def work(name, limit):
    for row in claims(name, limit):
        print(row.pk)
        if not DelayedJob.objects.finish(row):
            raise SystemExit(f"{row} was lost")


def shuffle(name, limit):
    jobs = DelayedJob.objects
    moves = [
        lambda row: jobs.finish(row),
        lambda row: jobs.discard_held(row),
        lambda row: jobs.reschedule(row, ERROR, NOW),
        lambda row: jobs.crash(row, ERROR, NOW),
        lambda row: jobs.fail(row, ERROR),
        lambda row: jobs.release([row]),
        lambda row: jobs.reschedule(row, ERROR, NOW),
    ]
    for row in claims(name, limit):
        if not moves[(row.pk + row.lock_token) % len(moves)](row):
            raise SystemExit(f"{row} was lost")
        if row.pk % 5 == 0:
            jobs.failed().filter(pk__gte=row.pk).retry()
        if row.pk % 7 == 0:
            jobs.filter(pk__range=(row.pk, row.pk + 9), attempts__gt=3).discard()


def claims(name, limit):
    print("ready", flush=True)
    sys.stdin.readline()
    while True:
        rows = DelayedJob.objects.claim(name.rjust(32, "0"), int(limit))
        yield from rows
        if not rows and select.select([sys.stdin], [], [], 0.02)[0]:
            break


{"fill": fill, "produce": produce, "work": work, "shuffle": shuffle}[sys.argv[1]](*sys.argv[2:])
