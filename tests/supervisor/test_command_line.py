"""A worker is started by the same program as its supervisor, whatever that program is."""

import os
import sys
from pathlib import Path

import pytest
from tests.playground.jobs import Note, NoteSchema
from tests.playground.processes import command, ledger

__all__ = ["command", "ledger"]

ROOT = Path(__file__).parents[2]
ONE_PASS = ("jobs_work", "--sleep-delay", "0")

# A program that sets its paths itself, as some manage.py do; the environment names none of them.
PROGRAM = f"""
import sys
sys.path[:0] = {[str(ROOT), str(ROOT / "testproject")]}
{{before}}
import django
from django.core.management import call_command, execute_from_command_line
{{run}}
"""
CALL = "django.setup(); call_command('jobs_work', **{options})"
EXECUTE = "execute_from_command_line(sys.argv)"


@pytest.fixture
def program(command, tmp_path):
    """Write a program and run it with these arguments; `before` is its first line and `run` its last."""

    def start(*arguments, run=EXECUTE, before="", name="run.py", **options):
        path = tmp_path / "bin" / name
        path.parent.mkdir()
        path.write_text(PROGRAM.format(before=before, run=run))
        environment = {"PYTHONPATH": "", **options.pop("environment", {})}
        return command(
            *arguments, start_with=(sys.executable, path), cwd=tmp_path, environment=environment, **options
        )

    return start


def test_a_command_that_runs_it_runs_its_worker_too(command, ledger):
    NoteSchema.perform_later(str(ledger))
    run = command("with_schema", *ONE_PASS, "--schema=acme")
    assert run.ends() == 0, run.output
    assert ledger.lines == ["acme"]


@pytest.mark.parametrize("name", ["mysite", "run.py", "jobs_work"])
def test_a_program_of_any_name_starts_it(program, ledger, name):
    Note.perform_later(str(ledger), "done")
    run = program(*ONE_PASS, name=name)
    assert run.ends() == 0, run.output
    assert ledger.lines == ["done"]


@pytest.mark.parametrize("arguments", [[], ["--serve", "8000"], ["jobs"]], ids=str)
def test_a_program_that_calls_it_starts_it_with_its_paths(program, ledger, arguments):
    Note.perform_later(str(ledger), "done")
    run = program(*arguments, run=CALL.format(options={"sleep_delay": "0"}))
    assert run.ends() == 0, run.output
    assert ledger.lines == ["done"]


def test_a_program_that_is_not_a_file_starts_it(command, ledger):
    Note.perform_later(str(ledger), "done")
    run = command(
        *ONE_PASS,
        start_with=(sys.executable, "-c", PROGRAM.format(before="", run=EXECUTE)),
        environment={"PYTHONPATH": ""},
    )
    assert run.ends() == 0, run.output
    assert ledger.lines == ["done"]


@pytest.fixture(params=["program", "shell"])
def called(request, program, command):
    """Call the command with these options, once from a program and once from a command of Django."""

    def start(**options):
        if request.param == "program":
            return program(run=CALL.format(options=options))
        code = f"from django.core.management import call_command; call_command('jobs_work', **{options})"
        return command("shell", "-v", "0", "-c", code)

    return start


def test_a_call_that_is_quiet_has_a_quiet_worker(called, ledger):
    Note.perform_later(str(ledger), "done")
    run = called(sleep_delay="0", quiet=True)
    assert (run.ends(), run.output) == (0, "")
    assert ledger.lines == ["done"]


def test_a_call_that_is_verbose_has_a_verbose_worker(called):
    run = called(sleep_delay="0.1", verbosity=2)
    run.has_said("DEBUG Sleeping")
    assert run.stop() == 0


def test_settings_that_no_other_process_finds_are_refused(program):
    configure = (
        "from django.conf import settings; from tests.playground import settings as module;"
        "settings.configure(**{name: value for name, value in vars(module).items() if name.isupper()})"
    )
    run = program(before=configure, run=CALL.format(options={"sleep_delay": "0"}))
    assert run.ends() == 1
    assert run.said("CommandError: The settings of this process come from settings.configure()")


def test_a_program_that_configures_its_settings_itself_starts_it_too(program, ledger):
    Note.perform_later(str(ledger), "done")
    configure = (
        "from django.conf import settings; from tests.playground import settings as module;"
        "settings.configure(**{name: value for name, value in vars(module).items() if name.isupper()})"
    )
    run = program(*ONE_PASS, before=configure)
    assert run.ends() == 0, run.output
    assert ledger.lines == ["done"]


@pytest.mark.parametrize("how", ["by name", "called"])
def test_django_configurations_choose_the_settings_of_the_worker_too(program, ledger, tmp_path, how):
    Note.perform_later(str(ledger), "done")
    (tmp_path / "configured.py").write_text(
        "from configurations import Configuration\n"
        "from tests.playground import settings\n"
        "named = {name: value for name, value in vars(settings).items() if name.isupper()}\n"
        "class Dev(Configuration):\n"
        # The package calls a class that the settings import, and sets what MAILERS replaces.
        "    locals().update({name: value for name, value in named.items() if not callable(value)})\n"
        "    locals().pop('MAILERS', None)\n"
    )
    before = f"sys.path.append({os.fspath(tmp_path)!r})"
    execute = (
        "from configurations.management import execute_from_command_line; execute_from_command_line(sys.argv)"
    )
    code = "from django.core.management import call_command; call_command('jobs_work', sleep_delay='0')"
    arguments = ONE_PASS if how == "by name" else ("shell", "-v", "0", "-c", code)
    # The package does things that Python and Django warn about.
    environment = {"DJANGO_SETTINGS_MODULE": "configured", "PYTHONWARNINGS": "ignore"}
    run = program(*arguments, "--configuration=Dev", before=before, run=execute, environment=environment)
    assert run.ends() == 0, run.output
    assert ledger.lines == ["done"]
