from datetime import timedelta

import pytest
from django_delayed.features.recurring.definitions import definitions
from django_delayed.features.recurring.runs import now_in_seconds
from django_delayed.features.recurring.ticker import Ticker
from django_delayed.models import DelayedJob, Schedule, ScheduleRun

PLAIN = "tests.blog.jobs:Plain"


@pytest.fixture
def schedule(db):
    """Write the row of a schedule that an operator has made, every five minutes, from now on."""

    def write(**columns):
        given = {"name": "clean", "job": PLAIN, "since": now_in_seconds()}
        if "cron" not in columns:
            given["every"] = timedelta(minutes=5)
        return Schedule.objects.create(**(given | columns))

    return write


@pytest.fixture
def recurring(settings):
    """Put these entries into the setting RECURRING."""

    def set_to(**entries):
        settings.DJANGO_DELAYED = {
            "RECURRING": {name: {"job": PLAIN} | entry for name, entry in entries.items()}
        }

    return set_to


@pytest.fixture
def ticker(db):
    """Make the ticker of a supervisor that starts now, with the schedules of the code."""
    return lambda: Ticker(definitions())


@pytest.fixture
def ticks():
    """The ticks of all runs, in seconds since 1970, in the order of the runs."""
    return lambda: list(ScheduleRun.objects.order_by("pk").values_list("tick", flat=True))


@pytest.fixture
def made():
    """The rows of the jobs, in the order of their ids."""
    return lambda: list(DelayedJob.objects.order_by("pk"))
