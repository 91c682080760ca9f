"""Checks, in a separate process, whether the clock agrees with what Django stores under these settings.

WALL_CLOCK is "use_tz, ZONE", "use_tz and a zone of the database, ZONE" or "naive, ZONE".
"""

import time
from datetime import timedelta
from os import environ

import django
from django.conf import settings

mode, zone = environ["WALL_CLOCK"].split(", ")
settings.TIME_ZONE = environ["TZ"] = zone
time.tzset()  # as Django does it when it reads its settings
settings.USE_TZ = mode != "naive"
if "zone of the database" in mode:
    settings.DATABASES["default"]["TIME_ZONE"] = zone
django.setup()

from django.db import connection  # noqa: E402
from django.utils import timezone  # noqa: E402
from django_delayed.databases import DatabaseNow, insert  # noqa: E402
from django_delayed.models import DelayedJob  # noqa: E402

ABOUT = timedelta(minutes=10)
HOUR = timedelta(hours=1)


def check(holds, what):
    if not holds:
        raise SystemExit(f"{what} under {environ['WALL_CLOCK']!r}")


def waiting(run_at):
    row = DelayedJob(name="a job", payload="{}", run_at=run_at, created_at=DatabaseNow())
    insert(connection, [row])
    return DelayedJob.objects.get(pk=row.pk)


now = timezone.now()
check(timezone.is_aware(now) is settings.USE_TZ, "the settings were not taken up")
check(abs(waiting(DatabaseNow()).run_at - now) < ABOUT, "now is not now")
check(abs(waiting(DatabaseNow(plus=HOUR)).run_at - now - HOUR) < ABOUT, "an hour is not an hour")
check(DelayedJob.objects.ready().count() == 1, "what waited is not due")
DelayedJob.objects.all().delete()
due, later = waiting(now - ABOUT), waiting(now + ABOUT)
check(
    list(DelayedJob.objects.ready()) == [due],
    "what has a run_at is not due then",
)
[claimed] = DelayedJob.objects.claim("1" * 32, 10)
check(claimed == due, "the wrong job was claimed")
check(abs(claimed.locked_at - now) < ABOUT, "locked_at is not now")
check(
    0 < DelayedJob.objects.next_due() <= ABOUT.total_seconds() + 1, "the next job is not due in ten minutes"
)
print("all is well")
