"""The table in docs/guarantees.md: several supervisors with the same schedule; some are killed."""

import json
import signal

import pytest
from django_delayed.features.recurring.runs import pause
from django_delayed.features.recurring.schedules import seconds_of
from django_delayed.models import Schedule, ScheduleRun
from tests.faults.form import PATIENCE, form
from tests.playground.processes import no_job_is_left, until

WORK = "tests.playground.jobs:Work"


class Runs:
    """All runs that there have been; the table has only the last hundred."""

    def __init__(self):
        self.late, self.jobs = {}, {}

    def look(self):
        for run in ScheduleRun.objects.all():
            self.late[run.tick] = seconds_of(run.created_at) - run.tick
            self.jobs[run.tick] = run.delayed_job_id
        return len(self.jobs)


@pytest.mark.slow
@pytest.mark.fault("supervisors that race for the ticks of a schedule")
def test_each_tick_becomes_one_job_however_many_supervisors_there_are(hosts, ledger, figures):
    ticks, runs = form(5, 200), Runs()
    each_second = {"job": WORK, "schedule": 1, "catch_up": "all", "args": [str(ledger)]}
    given = {"environment": {"RECURRING": json.dumps({"work": each_second})}, "delayed": {"LEASE": 300}}
    first, *_ = hosts.start(2, **given)
    until(lambda: runs.look() >= ticks / 2, PATIENCE)
    # One dies and another one starts: it catches up with the ticks in between.
    first.send(signal.SIGKILL)
    hosts.start(1, **given)
    until(lambda: runs.look() >= ticks, PATIENCE)
    pause([Schedule.objects.get().pk])
    until(no_job_is_left, PATIENCE)
    number, first_tick, made = runs.look(), min(runs.jobs), {*runs.jobs.values()}
    extra = ledger.starts.total() - number
    figures(ticks=number, jobs=len(made), extra=extra, late=max(runs.late.values()))
    assert sorted(runs.jobs) == list(range(first_tick, first_tick + number))
    assert len(made) == number
    assert {*ledger.starts} == made
    assert extra == 0
