"""A program that loads a stored database, migrates it, and works it off with the present code.

It prints what the test compares as one line of JSON.
"""

import json
import os
import re
from collections import Counter
from pathlib import Path

import django

django.setup()

from django.core import mail  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.db.migrations.recorder import MigrationRecorder  # noqa: E402
from django_delayed.features.recurring.ticker import Ticker  # noqa: E402
from django_delayed.models import DelayedJob, FailedAttempt, FailureGroup, WorkerProcess  # noqa: E402
from tests.blog.work import write  # noqa: E402
from tests.tasks.framework import task_backends  # noqa: E402
from tests.upgrade import work  # noqa: E402
from tests.upgrade.databases import fresh_database  # noqa: E402

NEXT = {"job": "tests.upgrade.work:Note", "args": ["of a later version"], "kwargs": {}, "v": 2}
WRONG = {**NEXT, "v": "two"}


def load():
    """Load the database of a project that was deployed with the former code."""
    stored = Path(__file__).with_name(f"{os.environ.get('DATABASE', 'sqlite')}.sql").read_text()
    with connection.cursor() as cursor:
        for statement in re.split(r";\n(?=CREATE |INSERT |ALTER |SELECT |\Z)", stored):
            if statement:
                cursor.execute(statement)
    recorder = MigrationRecorder(connection)
    recorder.ensure_schema()
    recorder.record_applied("django_delayed", "0001_initial")


def look():
    """The number of rows in each state, and what was done since the last look."""
    done = sorted(json.dumps(one) for one in work.DONE)
    work.DONE.clear()
    states = Counter(str(row.state) for row in DelayedJob.objects.all())
    return {"states": states, "done": [json.loads(one) for one in done]}


def work_off():
    call_command("jobs_workoff", quiet=True)
    return look()


def results():
    backend = task_backends["default"]
    found = [backend.get_result(pk) for pk in (2, 5, 16)]
    return [[str(result.status), result.return_value if result.is_finished else None] for result in found]


with fresh_database():
    load()
    call_command("migrate", verbosity=0)
    work.broken = False
    said = {"stored": look(), "attempts": FailedAttempt.objects.count()}
    [group] = FailureGroup.objects.all()
    said["note"] = group.note
    later, wrong = write(NEXT), write(WRONG)
    said["worked off"] = work_off()
    said["workers"] = WorkerProcess.objects.count()
    said["unknown"] = [
        [str(row.state), row.attempts, row.error_class]
        for row in DelayedJob.objects.filter(pk__in=[later.pk, wrong.pk]).order_by("pk")
    ]
    DelayedJob.objects.exclude(pk=later.pk).run_now()
    DelayedJob.objects.exclude(pk=wrong.pk).retry()
    said["moved by an operator"] = work_off()
    Ticker({}).run()
    said["later"] = work_off()
    said["results"] = results()
    said["mails"] = [message.subject for message in getattr(mail, "outbox", [])]
    print(json.dumps(said))
