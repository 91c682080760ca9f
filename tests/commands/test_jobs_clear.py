"""jobs_clear says what it would remove, asks, and never removes a running job."""

import os
import pty
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone
from django_delayed.models import DelayedJob, FailedAttempt
from tests.playground.jobs import Note

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture
def rows():
    now = timezone.now()
    columns = {
        "scheduled": {"run_at": now + HOUR},
        "enqueued": {"run_at": now, "created_at": now - 2 * HOUR},
        "mail": {"run_at": now, "queue": "mail"},
        "running": {"run_at": now, "locked_at": now, "locked_by": "w", "attempts": 1},
        "failed": {"run_at": now, "failed_at": now - 3 * HOUR, "attempts": 25, "created_at": now - 4 * HOUR},
        "just failed": {"run_at": now, "failed_at": now, "attempts": 25, "created_at": now - 4 * HOUR},
    }
    rows = {
        name: DelayedJob.objects.create(name=name, payload="{}", **values) for name, values in columns.items()
    }
    FailedAttempt.objects.create(delayed_job=rows["failed"], number=25, ended_at=now, error_class="E")
    return rows


def left():
    return set(DelayedJob.objects.values_list("name", flat=True))


@pytest.mark.parametrize(
    ("flags", "gone"),
    [
        ([], {"scheduled", "enqueued", "mail", "failed", "just failed"}),
        (["--queue", "mail"], {"mail"}),
        (["--queue", "mail", "--queues", "nothing,at all"], {"mail"}),
        (["--queue", "m*"], {"mail"}),
        (["--queue", "!default"], {"mail"}),
        (["--queue", "*,!mail"], {"scheduled", "enqueued", "failed", "just failed"}),
        (["--failed"], {"failed", "just failed"}),
        (["--failed", "--older-than", "3600"], {"failed"}),
        (["--older-than", "1:00:00"], {"enqueued", "failed", "just failed"}),
    ],
)
def test_it_removes_the_chosen_jobs_and_never_a_running_one(rows, flags, gone):
    call_command("jobs_clear", "--noinput", *flags)
    assert left() == set(rows) - gone
    assert FailedAttempt.objects.exists() == ("failed" in left())


def test_it_says_how_many_jobs_are_in_each_state(rows, capsys):
    call_command("jobs_clear", "--noinput")
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["1 scheduled", "2 enqueued", "1 running (stay)", "2 failed", "5 jobs removed."]


def test_without_jobs_to_remove_it_does_not_ask(rows, capsys):
    call_command("jobs_clear", "--queue", "nobody's")
    assert "There is no job to remove" in capsys.readouterr().out
    assert left() == set(rows)


@pytest.mark.parametrize(("answer", "code"), [("yes", 0), ("no", 1), ("", 1), ("y", 1)])
def test_it_asks_and_only_yes_confirms(command, ledger, answer, code):
    Note.perform_later(str(ledger), "waiting")
    terminal, end = pty.openpty()
    run = command("jobs_clear", stdin=end)
    os.write(terminal, f"{answer}\n".encode())
    assert run.ends() == code
    os.close(terminal)
    os.close(end)
    assert run.said("1 enqueued")
    assert DelayedJob.objects.exists() == bool(code)
    assert not run.said("Traceback")


def test_without_standard_input_it_removes_nothing_and_says_so(command, ledger):
    Note.perform_later(str(ledger), "waiting")
    run = command("jobs_clear")
    assert run.ends() == 1
    assert run.said("CommandError: Nothing was removed: standard input is closed, .* See --noinput.")
    assert DelayedJob.objects.count() == 1


def test_a_job_that_is_claimed_while_it_asks_stays(command, ledger):
    claimed = Note.perform_later(str(ledger), "claimed")
    Note.set(wait=3600).perform_later(str(ledger), "waiting")
    terminal, end = pty.openpty()
    run = command("jobs_clear", stdin=end)
    run.has_said("1 scheduled")
    assert [job.pk for job in DelayedJob.objects.claim("w")] == [claimed.pk]
    os.write(terminal, b"yes\n")
    assert run.ends() == 0
    os.close(terminal)
    os.close(end)
    assert [job.pk for job in DelayedJob.objects.all()] == [claimed.pk]


def test_an_invalid_age_is_refused():
    with pytest.raises(CommandError, match="'yesterday' is not a duration, such as 90"):
        call_command("jobs_clear", "--older-than", "yesterday")
