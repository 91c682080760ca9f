"""jobs_check: late is what has been due for too long, and nothing else."""

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.utils import timezone
from django_delayed import claiming
from django_delayed.models import DelayedJob
from tests.playground.jobs import Note

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def no_lanes_are_remembered():
    claiming._remembered.clear()
    yield
    claiming._remembered.clear()


def job(due, **columns):
    """One that fell due so long ago, and was enqueued long before that."""
    now = timezone.now()
    return DelayedJob.objects.create(
        name="job", payload="{}", run_at=now - due, created_at=now - 10 * HOUR, **columns
    )


def test_an_empty_queue_is_healthy(capsys):
    call_command("jobs_check")
    assert capsys.readouterr().out == "No job is late; none is due.\n"


@pytest.mark.parametrize(("queues", "is_late"), [("m*", True), ("!mail", False), ("*,!m*", False)])
def test_it_checks_the_queues_of_a_pattern(queues, is_late):
    job(HOUR, queue="mail")
    if is_late:
        with pytest.raises(CommandError, match="A job has been due"):
            call_command("jobs_check", queues=queues)
    else:
        call_command("jobs_check", queues=queues)


def test_a_job_that_has_been_due_for_more_than_five_minutes_is_late(capsys):
    job(timedelta(minutes=4))
    call_command("jobs_check")
    assert "No job is late; the oldest has been due for 24" in capsys.readouterr().out
    job(timedelta(minutes=6))
    with pytest.raises(CommandError, match=r"has been due for 36. s, more than 300 s") as caught:
        call_command("jobs_check")
    assert caught.value.returncode == 1


def test_one_that_waits_to_be_tried_again_is_late_as_any_other():
    job(HOUR, attempts=3)
    with pytest.raises(CommandError):
        call_command("jobs_check")


@pytest.mark.parametrize(
    "columns",
    [
        {"due": -HOUR},
        {"due": HOUR, "locked_at": timezone.now() - HOUR, "locked_by": "w", "attempts": 1},
        {"due": HOUR, "failed_at": timezone.now() - HOUR, "attempts": 25},
        {"due": HOUR, "finished_at": timezone.now() - HOUR, "attempts": 1, "keep_for": HOUR},
    ],
    ids=["scheduled", "running", "failed", "finished"],
)
def test_future_running_and_ended_jobs_are_not_late(columns):
    job(**columns)
    call_command("jobs_check", "--max-age", "0")


@pytest.mark.parametrize(("age", "late"), [("0:30:00", True), ("7200", False), (90, True), (HOUR * 2, False)])
def test_how_late_is_too_late_can_be_said(age, late):
    job(HOUR)
    if late:
        with pytest.raises(CommandError):
            call_command("jobs_check", max_age=age)
    else:
        call_command("jobs_check", max_age=age)


def test_it_looks_at_the_queues_that_it_is_asked_for():
    job(HOUR, queue="mail")
    call_command("jobs_check", "--queue", "index")
    with pytest.raises(CommandError):
        call_command("jobs_check", "--queue", "index", "--queue", "mail")


def test_it_warns_of_more_lanes_than_a_claim_likes(capsys):
    now = timezone.now()
    DelayedJob.objects.bulk_create(
        DelayedJob(name="job", payload="{}", run_at=now, queue=f"queue {n}") for n in range(201)
    )
    call_command("jobs_check")
    assert "201 pairs of queue and priority" in capsys.readouterr().err


def test_its_exit_code_is_for_cron(command, ledger):
    assert command("jobs_check").ends() == 0
    Note.perform_later(str(ledger), "late")
    DelayedJob.objects.update(run_at=timezone.now() - HOUR)
    run = command("jobs_check")
    assert (run.ends(), run.output[:13]) == (1, "CommandError:")


def test_a_database_that_cannot_be_asked_has_an_exit_code_of_its_own(command, tmp_path):
    away = {"DATABASE_NAME": str(tmp_path / "no such folder" / "db")}
    if connection.vendor != "sqlite":
        away = {"PGPORT": "1", "MYSQL_TCP_PORT": "1"}
    run = command("jobs_check", environment=away)
    assert run.ends() == 2
    assert run.said("^CommandError: The queue cannot be read: ")
    assert not run.said("Traceback")
