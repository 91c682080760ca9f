"""jobs_retry, jobs_run_now, jobs_discard: the operator's moves from a shell."""

import getpass
import logging
import os
import pty
from datetime import UTC, date, datetime, timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection
from django.utils import timezone
from django_delayed import states
from django_delayed.models import DelayedJob, FailedAttempt
from django_delayed.operations import Operation
from django_delayed.states import CANCELLED, State
from tests.playground.jobs import Note

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
COMMANDS = ["jobs_retry", "jobs_run_now", "jobs_discard", "jobs_cancel"]
FAILED = {"mail failed", "feed failed", "old failed"}


@pytest.fixture
def rows():
    """Jobs by their names: three that have failed, and one in each other state."""
    now = timezone.now()
    old = datetime(2020, 5, 4, 12, tzinfo=UTC)
    feed = {"error_class": "ConnectionError", "error_fingerprint": "c1"}
    columns = {
        "scheduled": {"run_at": now + HOUR},
        "enqueued": {"run_at": now},
        "retrying": {"run_at": now + HOUR, "attempts": 2, **feed},
        "running": {"run_at": now, "locked_at": now, "locked_by": "w", "attempts": 1},
        "finished": {"run_at": now, "finished_at": now, "attempts": 1},
        "mail failed": {"run_at": now, "failed_at": now, "queue": "mail", "error_class": "KeyError"},
        "feed failed": {"run_at": now, "failed_at": now, **feed},
        "old failed": {"run_at": old, "failed_at": old, "created_at": old, "error_fingerprint": "c2"},
    }
    return {
        name: DelayedJob.objects.create(name=name, payload="{}", **values) for name, values in columns.items()
    }


def words(value):
    """The id of a parameter in the name of a test."""
    return value if isinstance(value, str) else " ".join(sorted(value)) or "none"


def names(rows):
    return set(rows.values_list("name", flat=True))


def everything():
    return list(DelayedJob.objects.order_by("pk").values())


@pytest.mark.parametrize(
    ("flags", "moved"),
    [
        ([], FAILED),
        (["--queue", "mail"], {"mail failed"}),
        (["--queue", "mail,default"], FAILED),
        (["--queue", "ma*"], {"mail failed"}),
        (["--queue", "!mail"], FAILED - {"mail failed"}),
        (["--name", "feed"], {"feed failed"}),
        (["--error-class", "KeyError"], {"mail failed"}),
        (["--fingerprint", "c1"], {"feed failed"}),
        (["--failed-at-to", "2020-05-04"], {"old failed"}),
        (["--failed-at-to", "2020-05-03"], set()),
        (["--failed-at-from", "2020-05-05"], {"mail failed", "feed failed"}),
        (["--created-at-from", "2020-05-04", "--created-at-to", "2020-05-04"], {"old failed"}),
        (["--run-at-from", "2020-05-04T12:00Z", "--run-at-to", "2020-05-04 12:00+00:00"], {"old failed"}),
        (["--queue", "mail", "--fingerprint", "c1"], set()),
    ],
    ids=words,
)
def test_the_failed_jobs_that_the_filters_find_are_retried(rows, flags, moved):
    call_command("jobs_retry", "--no-input", *flags)
    assert names(DelayedJob.objects.failed()) == FAILED - moved
    assert names(DelayedJob.objects.enqueued()) == {"enqueued"} | moved


@pytest.mark.parametrize(
    ("flags", "moved"),
    [
        ([], FAILED),
        (["--queue", "default"], FAILED - {"mail failed"}),
        (["--error-class", "JobCancelled"], {"cancelled"}),
        (["--fingerprint", CANCELLED], {"cancelled"}),
    ],
    ids=words,
)
def test_jobs_that_an_operator_has_ended_are_retried_only_if_the_filter_names_their_error(rows, flags, moved):
    ended = {"error_class": "JobCancelled", "error_fingerprint": CANCELLED, "failed_at": timezone.now()}
    DelayedJob.objects.create(name="cancelled", payload="{}", **ended)
    call_command("jobs_retry", "--no-input", *flags)
    assert names(DelayedJob.objects.enqueued()) == {"enqueued"} | moved


@pytest.mark.parametrize(
    ("flags", "moved"),
    [
        ([], {"scheduled", "retrying"}),
        (["--state", "retrying"], {"retrying"}),
        (["--state", "scheduled"], {"scheduled"}),
        (["--error-class", "ConnectionError"], {"retrying"}),
    ],
    ids=words,
)
def test_the_waiting_jobs_that_the_filters_find_are_made_due(rows, flags, moved):
    call_command("jobs_run_now", "--no-input", *flags)
    assert names(DelayedJob.objects.ready()) == {"enqueued"} | moved


@pytest.mark.parametrize(
    ("flags", "moved"),
    [
        (["--state", "finished"], {"finished"}),
        (["--state", "enqueued"], {"enqueued"}),
        (["--fingerprint", "c1"], {"feed failed", "retrying"}),
        (["--fingerprint", "c1", "--state", "failed"], {"feed failed"}),
        ([], {"scheduled", "enqueued", "retrying", "finished", *FAILED}),
    ],
    ids=words,
)
def test_the_jobs_that_the_filters_find_are_discarded_unless_they_run(rows, flags, moved):
    for row in rows.values():
        FailedAttempt.objects.create(delayed_job=row, number=1, ended_at=timezone.now(), error_class="E")
    call_command("jobs_discard", "--no-input", *flags)
    assert names(DelayedJob.objects) == set(rows) - moved
    assert FailedAttempt.objects.count() == len(rows) - len(moved)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("jobs_retry", ["3 failed", "3 jobs retried."]),
        ("jobs_run_now", ["1 scheduled", "1 retrying", "2 jobs made due."]),
        (
            "jobs_discard",
            ["1 scheduled", "1 enqueued", "1 retrying", "3 failed", "1 finished", "7 jobs discarded."],
        ),
    ],
)
def test_they_say_how_many_jobs_in_which_state(rows, capsys, name, lines):
    call_command(name, "--no-input")
    said = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert said[0].startswith("No filter is set: these are all jobs that can be ")
    assert said[1:] == lines


@pytest.mark.parametrize("name", COMMANDS)
def test_a_dry_run_counts_and_moves_nothing(rows, capsys, name):
    before = everything()
    call_command(name, "--dry-run", "--queue", "default")
    assert everything() == before
    said = capsys.readouterr().out
    assert "No filter is set" not in said
    counted = [int(line.split()[0]) for line in said.splitlines() if line[0] == " "]
    assert sum(counted) >= (1 if name == "jobs_cancel" else 2)


@pytest.mark.parametrize("name", COMMANDS)
def test_without_jobs_to_move_they_do_not_ask(rows, capsys, name):
    call_command(name, "--queue", "nobody's")
    assert "There is no job that can be" in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "code"), [("yes", 0), ("no", 1), ("", 1), ("Yes!", 1)])
def test_they_ask_and_only_yes_confirms(command, ledger, answer, code):
    Note.set(wait=3600).perform_later(str(ledger), "waiting")
    terminal, end = pty.openpty()
    run = command("jobs_discard", stdin=end)
    os.write(terminal, f"{answer}\n".encode())
    assert run.ends() == code
    os.close(terminal)
    os.close(end)
    assert run.said("1 job will be discarded. Type 'yes' to continue")
    assert DelayedJob.objects.exists() == bool(code)
    assert not run.said("Traceback")


@pytest.mark.parametrize("name", ["jobs_run_now", "jobs_discard"])
def test_without_standard_input_they_move_nothing_and_say_so(command, ledger, name):
    Note.set(wait=3600).perform_later(str(ledger), "waiting")
    before = everything()
    run = command(name)
    assert run.ends() == 1
    assert run.said(
        "CommandError: No job was (made due|discarded): standard input is closed, .* See --noinput."
    )
    assert everything() == before


def test_a_job_that_is_claimed_while_they_ask_stays(command, ledger):
    claimed = Note.perform_later(str(ledger), "claimed")
    Note.set(wait=3600).perform_later(str(ledger), "waiting")
    terminal, end = pty.openpty()
    run = command("jobs_discard", stdin=end)
    run.has_said("1 scheduled")
    assert [row.pk for row in DelayedJob.objects.claim("w")] == [claimed.pk]
    os.write(terminal, b"yes\n")
    assert run.ends() == 0
    os.close(terminal)
    os.close(end)
    assert run.said("1 job discarded.")
    assert run.said("1 job skipped: changed or gone meanwhile.")
    assert list(DelayedJob.objects.all()) == [claimed]


def test_a_job_that_fails_while_they_ask_is_left_alone(rows, monkeypatch):
    def fail_meanwhile(question):
        DelayedJob.objects.filter(name="enqueued").update(failed_at=timezone.now())
        return "yes"

    monkeypatch.setattr("builtins.input", fail_meanwhile)
    call_command("jobs_retry")
    assert names(DelayedJob.objects.failed()) == {"enqueued"}


def test_any_number_of_jobs_is_moved_in_batches(monkeypatch):
    monkeypatch.setattr(states, "ROWS_A_TRANSACTION", 4)
    monkeypatch.setattr("django_delayed.operations.MOST_ROWS", 5)
    now = timezone.now()
    DelayedJob.objects.bulk_create(DelayedJob(name="a", payload="{}", failed_at=now) for _ in range(11))
    call_command("jobs_retry", "--no-input")
    assert DelayedJob.objects.enqueued().count() == 11


def test_the_log_says_before_and_after_a_move_who_moves_which_jobs(rows, caplog, monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "alice")
    with caplog.at_level(logging.INFO, logger="django_delayed"):
        call_command("jobs_retry", "--no-input", "--queue", "mail")
    [before, after] = [record.getMessage() for record in caplog.records]
    pk = rows["mail failed"].pk
    assert before == f"retry: begun where queue=mail: {pk}, by alice in a terminal"
    assert after == f"retry: 1 of 1 where queue=mail: {pk}, by alice in a terminal"


def test_the_log_says_when_the_user_is_unknown(rows, caplog, monkeypatch):
    def nobody():
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", nobody)
    with caplog.at_level(logging.INFO, logger="django_delayed"):
        call_command("jobs_retry", "--no-input")
    assert "by an unknown user" in caplog.text


def test_a_move_that_fails_midway_has_been_logged(rows, caplog, monkeypatch):
    def cut_off(operation, ids, **how):
        raise OperationalError("the connection was cut")

    monkeypatch.setattr(Operation, "carry_out", cut_off)
    with caplog.at_level(logging.INFO, logger="django_delayed"), pytest.raises(OperationalError):
        call_command("jobs_discard", "--no-input")
    assert "discard: begun: " in caplog.text


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unavailable_database_has_its_own_exit_code(command, tmp_path, name):
    away = {"DATABASE_NAME": str(tmp_path / "no such folder" / "db")}
    if connection.vendor != "sqlite":
        away = {"PGPORT": "1", "MYSQL_TCP_PORT": "1"}
    run = command(name, "--no-input", environment=away)
    assert run.ends() == 2
    assert run.said("CommandError: The jobs cannot be read: ")
    assert not run.said("Traceback")


@pytest.mark.parametrize(
    ("name", "flags", "said"),
    [
        ("jobs_retry", ["--failed-at-from", "yesterday"], "'yesterday' is not a date, with or"),
        ("jobs_retry", ["--run-at-to", "2020-02-30"], "--run-at-to: '2020-02-30' is not a date"),
        ("jobs_retry", ["--created-at-from", "0001-01-01T00:00+14:00"], "is out of range"),
        ("jobs_retry", ["--queue", ","], "',' names no queues such as mail,tweets"),
        ("jobs_run_now", ["--state", "failed"], "invalid choice: 'failed'"),
        ("jobs_discard", ["--state", "running"], "invalid choice: 'running'"),
    ],
    ids=words,
)
def test_an_invalid_filter_is_refused(rows, name, flags, said):
    before = everything()
    with pytest.raises(CommandError, match=said):
        call_command(name, "--no-input", *flags)
    assert everything() == before


def test_a_moment_is_in_the_current_time_zone(rows):
    with timezone.override("Pacific/Auckland"):
        call_command("jobs_retry", "--no-input", "--failed-at-to", "2020-05-04 23:59")
        assert "old failed" in names(DelayedJob.objects.failed())
        call_command("jobs_retry", "--no-input", "--failed-at-to", "2020-05-05 00:00")
    assert "old failed" not in names(DelayedJob.objects.failed())


@pytest.mark.parametrize(
    "given", [datetime(2020, 5, 4, 23, tzinfo=UTC), date(2020, 5, 4), "2020-05-04"], ids=repr
)
def test_call_command_takes_moments_as_values(rows, given):
    call_command("jobs_retry", interactive=False, failed_at_to=given)
    assert names(DelayedJob.objects.failed()) == FAILED - {"old failed"}


def test_the_rows_of_these_tests_have_each_state(rows):
    assert {str(state) for state in State} == {row.state for row in rows.values()}


@pytest.mark.parametrize("given", ["yesterday", "2020-13-01", "9999-12-31T23:00-14:00", 7, ""])
def test_call_command_refuses_invalid_moments(rows, given):
    with pytest.raises(CommandError, match=r"is not a date|is out of range"):
        call_command("jobs_retry", interactive=False, failed_at_to=given)
    assert names(DelayedJob.objects.failed()) == FAILED


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["--name", "--error-class", "--fingerprint", "--queue", "--failed-at-to"])
def test_an_empty_filter_moves_nothing(rows, name, flag):
    before = everything()
    with pytest.raises(CommandError, match=r"is empty|names no queues|is not a date"):
        call_command(name, "--no-input", flag, "")
    assert everything() == before


@pytest.mark.parametrize(
    "given", [{"queues": []}, {"queues": ""}, {"name": ""}, {"fingerprint": ""}], ids=repr
)
def test_call_command_refuses_an_empty_filter(rows, given):
    with pytest.raises(CommandError, match="is empty"):
        call_command("jobs_discard", interactive=False, **given)
    assert DelayedJob.objects.count() == len(rows)


@pytest.mark.parametrize("name", ["jobs_discard", "jobs_run_now"])
def test_a_state_is_given_once_and_the_error_lists_the_choices(name):
    with pytest.raises(CommandError, match="give it once"):
        call_command(name, "--state", "retrying", "--state", "retrying")
    with pytest.raises(CommandError, match=r"choose from .*retrying"):
        call_command(name, "--state", "faild")


@pytest.mark.parametrize(
    "spread", [["--spread", "1200"], ["--spread", "0:20:00"], ["--spread=1200.0"]], ids=words
)
def test_retried_jobs_can_be_spread_over_some_time(rows, caplog, spread):
    caplog.set_level(logging.INFO, "django_delayed")
    call_command("jobs_retry", "--no-input", *spread)
    retried = DelayedJob.objects.filter(name__in=FAILED).order_by("run_at")
    first, second, third = retried.values_list("run_at", flat=True)
    assert [round((moment - first) / timedelta(seconds=400)) for moment in (second, third)] == [1, 2]
    assert "retry: 3 of 3, spread over 1200 s: " in caplog.text


def test_call_command_accepts_a_timedelta_to_spread_over(rows):
    call_command("jobs_retry", interactive=False, spread=timedelta(hours=1), verbosity=0)
    assert DelayedJob.objects.filter(name__in=FAILED).scheduled().count() == 2


@pytest.mark.parametrize("spread", ["-1", "ten", "1e400"])
def test_an_invalid_spread_is_refused(rows, spread):
    before = everything()
    with pytest.raises(CommandError, match="--spread"):
        call_command("jobs_retry", "--no-input", "--spread", spread)
    assert everything() == before


@pytest.mark.parametrize("name", ["jobs_run_now", "jobs_discard", "jobs_cancel"])
def test_only_retried_jobs_are_spread(rows, name):
    with pytest.raises(CommandError, match="--spread"):
        call_command(name, "--no-input", "--spread", "10")


def test_jobs_with_an_equal_job_that_waits_are_counted_separately(command, ledger):
    rows = [Note.set(unique=True).perform_later(str(ledger), name) for name in "abc"]
    DelayedJob.objects.update(failed_at="2026-01-01T00:00Z")
    assert Note.set(unique=True, wait=3600).perform_later(str(ledger), "a") is not None
    run = command("jobs_retry", "--noinput")
    assert run.ends() == 0
    assert run.said("2 jobs retried.")
    assert run.said("1 job skipped: an equal job waits.")
    assert DelayedJob.objects.failed().get() == rows[0]
