"""The pages of the admin, beside a million rows of which a tenth have failed.

    python benchmarks/admin.py [--database sqlite|postgresql|mariadb] [--rows 1000000] [--loads 7]
        [--unvacuumed] [--cold]

Half of the failed jobs have one cause, the others 200 causes. Ten workers have performed jobs in each minute
of three days. A page is timed as Django's test client loads it: the middleware, the views, the queries and
the templates, and no network. With `--unvacuumed`, PostgreSQL has just got the rows, and reads those to which
an index leads. With `--cold`, a PostgreSQL or MariaDB of its own is started again before each load, so that
nothing is in the memory of the server; as root, nothing is in the page cache of the system either.
"""

import argparse
import os
import re
import statistics
import sys
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "scripts")]
os.environ["DJANGO_SETTINGS_MODULE"] = "bench_settings"

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--database", choices=["sqlite", "postgresql", "mariadb"])
parser.add_argument("--rows", type=int, default=1_000_000)
parser.add_argument("--loads", type=int, default=7, help="of each page; the median is reported")
parser.add_argument("--unvacuumed", action="store_true", help="on PostgreSQL, as after a flood of jobs")
parser.add_argument("--cold", action="store_true", help="start a server of its own again before each load")
options = parser.parse_args()
if options.database:
    os.environ["DATABASE"] = options.database
server = None
if options.cold:
    from servers import SERVERS

    # MariaDB would read back what it had in memory when it was stopped.
    os.environ["MARIADB_OPTIONS"] = "--innodb-buffer-pool-load-at-startup=OFF"
    server = SERVERS[os.environ["DATABASE"]]()
    os.environ |= server.environment

import django  # noqa: E402

django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext, setup_test_environment  # noqa: E402
from django.urls import reverse  # noqa: E402
from django.utils import timezone  # noqa: E402
from django_delayed.models import DelayedJob, JobStat  # noqa: E402
from django_delayed.states import State  # noqa: E402

from benchmarks import rows  # noqa: E402

TABLE = DelayedJob._meta.db_table
CAUSES, WORKERS = 200, 10
NOW, MINUTE, DAY = timezone.now(), timedelta(minutes=1), timedelta(days=1)
TRACEBACK = '\n  File "/srv/shop/feed.py", line 30, in fetch\n    return connect(url)' * 30
ERROR = {
    "error_class": "ConnectionError",
    "error_message": "the server hung up",
    "last_error": f"ConnectionError: the server hung up\n\nTraceback (most recent call last):{TRACEBACK}",
}
TIDY = {"postgresql": f"VACUUM ANALYZE {TABLE}", "mysql": f"ANALYZE TABLE {TABLE}", "sqlite": "ANALYZE"}


def fill(count):
    """Waiting and finished jobs; failed ones of one large cause and of many small ones."""
    multiply(count * 4 // 10, run_at=NOW + DAY)
    multiply(count * 3 // 10, queue="mail")
    multiply(count // 10, attempts=3, error_fingerprint="large", **ERROR)
    multiply(count // 10, finished_at=NOW, keep_for=DAY)
    for number in range(CAUSES):
        failed = {"failed_at": NOW - number * DAY / CAUSES, "attempts": 25, **ERROR}
        multiply(
            count // 20 // CAUSES, queue=f"feeds {number % 5}", error_fingerprint=f"small {number}", **failed
        )
        multiply(count // 20 // CAUSES, error_fingerprint="large", **failed)
    numbers = {"processed": 900, "failed": 9, "waited": 400.0, "ran": 30.0, "longest": 4.0}
    minutes = (NOW - number // WORKERS * MINUTE for number in range(WORKERS * 3 * 24 * 60))
    JobStat.objects.bulk_create(JobStat(id=id, minute=minute, **numbers) for id, minute in enumerate(minutes))
    with connection.cursor() as cursor:
        cursor.execute(TIDY[connection.vendor].replace("VACUUM ", "" if options.unvacuumed else "VACUUM "))
        if connection.vendor == "mysql":
            cursor.fetchall()


def multiply(count, **columns):
    """Write `count` equal rows."""
    columns = {"run_at": NOW, "created_at": NOW - 2 * DAY, "payload": "{}" + " " * 250} | columns
    rows.multiply(DelayedJob(name="Feed.fetch", **columns), count)


def pages():
    """The addresses to load, by their titles in the output."""
    of_job = DelayedJob.objects.failed().order_by("-failed_at", "-id").values_list("pk", flat=True)[:1].get()
    listed, cause = address("changelist"), address("cause", model="failuregroup")
    overview = address("changelist", model="pausedqueue")
    return {
        "the index": reverse("admin:index"),
        "the overview": overview,
        "the overview of three days": f"{overview}?span=three-days",
        "the list": listed,
        **{f"{state} jobs": f"{listed}?state={state.value}" for state in State},
        "waiting jobs of a queue": f"{listed}?state=enqueued&queue=mail",
        "a rare name": f"{listed}?q=Nothing",
        "a rare name among failed": f"{listed}?q=Nothing&state=failed",
        "failed jobs by cause": address("changelist", model="failuregroup"),
        "jobs of the large cause": f"{listed}?cause=large",
        "jobs of a small cause": f"{listed}?cause=small+100",
        "the page of the large cause": f"{cause}?cause=large",
        "a failed job": address("change", of_job),
        "retry the large cause?": f"{address('retry', model='failuregroup')}?cause=large",
        "discard a small cause?": f"{address('discard', model='failuregroup')}?cause=small+100",
    }


def address(name, *args, model="delayedjob"):
    return reverse(f"admin:django_delayed_{model}_{name}", args=args)


def measure(client, page):
    """The median milliseconds of a load, and how many queries a load makes."""
    times = []
    for _ in range(options.loads):
        if server:
            forget()
        began = time.perf_counter()
        response = client.get(page)
        times.append((time.perf_counter() - began) * 1000)
        assert response.status_code == 200
    with CaptureQueriesContext(connection) as queries:
        client.get(page)
    return statistics.median(times), len(queries)


def forget():
    """Start the server again, and have the system forget the files that it has read."""
    connection.close()
    server.stop()
    os.sync()
    with suppress(OSError):
        Path("/proc/sys/vm/drop_caches").write_text("3")
    server.start()


def retry(client):
    """Seconds of the question whether to retry the large cause, and of the answer; how many jobs moved."""
    address_of_question = f"{address('retry', model='failuregroup')}?cause=large"
    before, began = DelayedJob.objects.failed().count(), time.perf_counter()
    question = client.get(address_of_question)
    asked = time.perf_counter()
    answer = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', question.text))
    client.post(address_of_question, answer)
    moved = time.perf_counter()
    return asked - began, moved - asked, before - DelayedJob.objects.failed().count()


def main():
    if server:
        server.create()
        server.start()
    try:
        measure_all()
    finally:
        if server:
            server.remove()


def measure_all():
    """Write the rows, and print the figures of all pages."""
    setup_test_environment()
    name = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        began = time.perf_counter()
        fill(options.rows)
        took = time.perf_counter() - began
        failed = DelayedJob.objects.failed().count()
        print(
            f"{connection.vendor}: {options.rows:,} rows, {failed:,} of them failed ({took:.0f} s to write)"
        )
        client = Client()
        client.force_login(User.objects.create_superuser("operator"))
        for title, page in pages().items():
            milliseconds, queries = measure(client, page)
            print(f"  {title:28} {milliseconds:6.0f} ms  {queries:2} queries")
        asked, moved, count = retry(client)
        print(f"  {count:,} failed jobs retried: the question {asked:.1f} s, the answer {moved:.1f} s")
    finally:
        connection.creation.destroy_test_db(name, verbosity=0)


if __name__ == "__main__":
    main()
