"""No command fails because its output cannot encode what it prints."""

import io
import sys

import pytest
from django.core.management import call_command
from django.utils import timezone, translation
from django_delayed.models import DelayedJob
from tests.playground.jobs import Failing

NARROW = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "ascii:surrogateescape"},
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
]
each_narrow_output = pytest.mark.parametrize("environment", NARROW, ids=range(len(NARROW)))


def waiting(**columns):
    return DelayedJob.objects.create(name="Größe prüfen 🦀", payload="{}", **columns)


@each_narrow_output
def test_jobs_clear_prints_its_states_in_german(command, environment):
    waiting(locked_at=timezone.now(), locked_by="w", attempts=1)
    waiting()
    run = command("jobs_clear", "--noinput", environment={**environment, "LANGUAGE": "de"})
    assert run.ends() == 0, run.output
    assert run.said(r"1 l\\xe4uft \(stay\)")
    assert run.said("1 job removed")


@each_narrow_output
@pytest.mark.parametrize("name", ["jobs_work", "jobs_workoff"])
def test_the_log_escapes_what_the_terminal_cannot_encode(command, environment, name):
    Failing.set(max_attempts=1).perform_later("Übergröße 🦀")
    waiting(max_attempts=1)
    run = command(name, "--sleep-delay", "0", environment=environment)
    assert run.ends() == 0, run.output
    assert not run.said("Logging error|UnicodeEncodeError")
    assert run.said(r"FAILED permanently with ConnectionError: .*bergr.*\\U0001f980")
    assert run.said(r"pr.*fen \\U0001f980 #\d+ FAILED")


@pytest.mark.django_db
def test_a_given_stream_is_written_to_and_its_error_handler_restored():
    waiting(locked_at=timezone.now(), locked_by="w", attempts=1)
    waiting()
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    errors = sys.stdout.errors
    with translation.override("de"):
        call_command("jobs_clear", interactive=False, stdout=output)
    output.flush()
    assert b"1 l\\xe4uft" in output.buffer.getvalue()
    assert (output.errors, sys.stdout.errors) == ("strict", errors)


@pytest.mark.django_db
def test_a_stream_without_an_encoding_is_used_unchanged():
    output = io.StringIO()
    call_command("jobs_check", stdout=output)
    assert output.getvalue() == "No job is late; none is due.\n"
