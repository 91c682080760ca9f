"""An app that kills workers at points in the life of a job: each at one point, later workers at the next.

DEATH_AT      the points, as keys of POINTS separated by semicolons
DEATHS        how many of the workers that write into this ledger die at each point, at most
DEATH_LEDGER  the ledger into which they write that they die
SEED          chooses how often a worker passes the point before it dies there
"""

import os
import random
import signal
from pathlib import Path

from django.apps import AppConfig
from django.db.backends.signals import connection_created
from tests.playground.ledger import DEATH, enter


class Death:
    """Kills this process when it reaches the point for the nth time."""

    def __init__(self, point):
        self.point = point.replace(" ", "_")
        self.ledger = Path(os.environ["DEATH_LEDGER"])
        self.left = int(os.environ["DEATHS"]) - self._deaths()
        self.passes = random.Random(f"{os.environ['SEED']} {os.getpid()}").randint(1, 4)

    def may_come(self):
        self.passes -= 1
        if self.passes > 0:
            return
        enter(self.ledger, DEATH, self.point)
        os.kill(os.getpid(), signal.SIGKILL)

    def _deaths(self):
        return self.ledger.read_text().count(f"{DEATH} {self.point} ")


def on_every_connection(wrapper):
    # Django must not hold the receiver weakly: nothing else refers to it.
    def wrap(connection, **_):
        if wrapper not in connection.execute_wrappers:
            connection.execute_wrappers.append(wrapper)

    connection_created.connect(wrap, weak=False)


def before_the_claims_commit(death):
    def wrapper(execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        connection = context["connection"]
        # SQLite commits only when the rows that the statement returns have been read.
        if "attempts = attempts + 1" in sql and (connection.in_atomic_block or connection.vendor == "sqlite"):
            death.may_come()
        return result

    on_every_connection(wrapper)


def after_the_claims_commit(death):
    from django_delayed.states import DelayedJobQuerySet

    claim = DelayedJobQuerySet.claim

    def claimed(*arguments):
        if rows := claim(*arguments):
            death.may_come()
        return rows

    DelayedJobQuerySet.claim = claimed


def before_perform(death):
    from django_delayed.signals import job_started

    job_started.connect(lambda **_: death.may_come(), weak=False)


def after_perform(death):
    from django_delayed.worker import performing

    perform = performing.perform

    def performed(*arguments, **options):
        outcome = perform(*arguments, **options)
        death.may_come()
        return outcome

    performing.perform = performed


def during_settling(death):
    """Kill it between the two statements of a failure."""

    def wrapper(execute, sql, params, many, context):
        if sql.startswith("INSERT") and "django_delayed_failedattempt" in sql:
            death.may_come()
        return execute(sql, params, many, context)

    on_every_connection(wrapper)


def before_an_atomic_jobs_commit(death):
    from django_delayed.execution.transaction import JobTransaction

    move = JobTransaction._move

    def moved(own):
        move(own)
        death.may_come()

    JobTransaction._move = moved


def after_an_atomic_jobs_commit(death):
    from django.db import transaction
    from django_delayed.execution.transaction import JobTransaction

    move = JobTransaction._move

    def moved(own):
        move(own)
        transaction.on_commit(death.may_come)

    JobTransaction._move = moved


def in_the_ledger(death):
    """Kill it before the jobs that it has performed are settled together."""
    from django_delayed.worker import settling

    remove = settling.settle_together

    def removed(*arguments):
        death.may_come()
        return remove(*arguments)

    settling.settle_together = removed


def after_settling(death):
    from django_delayed.worker import settling

    for name in ("settle_together", "write_outcomes"):
        setattr(settling, name, dying_after(death, getattr(settling, name)))


def dying_after(death, settle):
    def settled(*arguments):
        lost = settle(*arguments)
        death.may_come()
        return lost

    return settled


POINTS = {
    "before the claim's commit": before_the_claims_commit,
    "after the claim's commit": after_the_claims_commit,
    "before perform": before_perform,
    "after perform": after_perform,
    "before an atomic job's commit": before_an_atomic_jobs_commit,
    "after an atomic job's commit": after_an_atomic_jobs_commit,
    "in the ledger": in_the_ledger,
    "during settling": during_settling,
    "after settling": after_settling,
}
AFTER_PERFORM = ("before an atomic job's commit", "after perform", "during settling")


class Deaths(AppConfig):
    name = "tests.playground.deaths"

    def ready(self):
        # The supervisor has no such variable, and stays alive.
        if "DJANGO_DELAYED_WORKER" not in os.environ:
            return
        for point in filter(None, os.environ.get("DEATH_AT", "").split(";")):
            if (death := Death(point)).left > 0:
                return POINTS[point](death)
