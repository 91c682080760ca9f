"""jobs_work: its flags, its log, and how it starts its worker."""

import re
import sys
from pathlib import Path
from socket import gethostname

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django_delayed import enqueue_all
from django_delayed.management.base import WorkerCommand
from django_delayed.models import DelayedJob, WorkerProcess
from django_delayed.worker.availability import migrate_command
from tests.playground.jobs import Environment, Failing, FailingForGood, Note
from tests.playground.processes import no_job_is_left, nothing_is_held, until

ONE_PASS = ("jobs_work", "--sleep-delay", "0")
STAMP = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"


def test_it_logs_like_delayed_job(command, ledger):
    job = Note.perform_later(str(ledger), "done")
    worker = command(*ONE_PASS)
    assert worker.ends() == 0
    assert worker.said(rf"{STAMP} INFO Note #{job.pk} RUNNING$")
    assert worker.said(rf"{STAMP} INFO Note #{job.pk} COMPLETED after \d+\.\d{{4}} s$")
    assert nothing_is_held()


def test_it_logs_how_often_a_job_has_failed_and_with_which_error(command):
    job = Failing.perform_later()
    worker = command("jobs_work", "--sleep-delay", "0.05")
    (line,) = worker.has_said(r"\(2 prior attempts\)")
    assert line.endswith(
        f"ERROR Failing #{job.pk} FAILED (2 prior attempts) with ConnectionError: the network is down"
    )
    assert worker.said(r"FAILED \(0 prior attempts\) with")
    assert worker.said(r"FAILED \(1 prior attempt\) with")
    assert worker.stop() == 0


def test_it_logs_when_a_job_is_given_up(command):
    job = FailingForGood.perform_later("no\nway")
    worker = command(*ONE_PASS)
    assert worker.ends() == 0
    assert worker.said(rf"FailingForGood #{job.pk} FAILED permanently with ConnectionError: no$")


def test_it_logs_at_debug_how_long_it_sleeps(command):
    worker = command("jobs_work", "-v", "2")
    worker.has_said(r"DEBUG Sleeping for 5\.0 seconds$")
    assert worker.stop() == 0


def test_with_quiet_it_prints_nothing(command, ledger):
    Note.perform_later(str(ledger), "done")
    worker = command(*ONE_PASS, "--quiet")
    assert (worker.ends(), worker.output) == (0, "")
    assert ledger.lines == ["done"]


def test_one_pass_performs_the_ready_jobs_and_ends(command, ledger):
    enqueue_all([Note(str(ledger), "done") for _ in range(120)])
    Note.set(wait=3600).perform_later(str(ledger), "later")
    assert command(*ONE_PASS).ends() == 0
    assert ledger.lines == ["done"] * 120
    assert DelayedJob.objects.scheduled().count() == 1
    assert nothing_is_held()


@pytest.mark.parametrize(
    ("flags", "environment", "performed"),
    [
        (["--queue", "mail"], {}, ["mail 5"]),
        (["--queues", "mail, index"], {}, ["index 0", "mail 5"]),
        (["--queue", "mail", "--queue", "index"], {}, ["index 0", "mail 5"]),
        (["--min-priority", "0"], {}, ["index 0", "mail 5"]),
        (["--max-priority", "0"], {}, ["default -5", "index 0"]),
        (["--min-priority", "-5", "--max-priority", "0"], {}, ["default -5", "index 0"]),
        ([], {"QUEUE": "mail"}, ["mail 5"]),
        ([], {"QUEUES": "mail,index", "QUEUE": "default"}, ["index 0", "mail 5"]),
        ([], {"MIN_PRIORITY": "0", "MAX_PRIORITY": "0"}, ["index 0"]),
        (["--queue", "index"], {"QUEUES": "mail"}, ["index 0"]),
        (["--min-priority", "-9"], {"MIN_PRIORITY": "5"}, ["default -5", "index 0", "mail 5"]),
        ([], {"QUEUES": "", "MIN_PRIORITY": ""}, ["default -5", "index 0", "mail 5"]),
        (["--queues", "*"], {}, ["default -5", "index 0", "mail 5"]),
        (["--queues", "m*,i*"], {}, ["index 0", "mail 5"]),
        (["--queues", "!mail"], {"QUEUES": "mail"}, ["default -5", "index 0"]),
        ([], {"QUEUES": "!mail, !ind*"}, ["default -5"]),
        (["--queues", "mail,index,default", "--in-order"], {}, ["mail 5", "index 0", "default -5"]),
        (["--queues", "index", "--queue", "*", "--in-order"], {}, ["index 0", "default -5", "mail 5"]),
        (["--in-order"], {"QUEUES": "mail,index"}, ["mail 5", "index 0"]),
    ],
)
@pytest.mark.django_db
def test_flags_override_the_environment(settings, monkeypatch, ledger, flags, environment, performed):
    settings.DJANGO_DELAYED = {"TRUSTED_MODULES": ["tests.playground"]}
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    for queue, priority in (("default", -5), ("index", 0), ("mail", 5)):
        Note.set(queue=queue, priority=priority).perform_later(str(ledger), f"{queue} {priority}")
    call_command("jobs_workoff", "--quiet", *flags)
    assert ledger.lines == performed


@pytest.mark.parametrize(
    ("flags", "environment", "chosen"),
    [
        (["--sleep-delay", "7", "--read-ahead", "70"], {"SLEEP_DELAY": "8", "READ_AHEAD": "80"}, (7, 70)),
        ([], {"SLEEP_DELAY": "8", "READ_AHEAD": "80"}, (8, 80)),
        (["--read-ahead", "70"], {}, (9, 70)),
    ],
)
def test_the_environment_overrides_the_settings(settings, monkeypatch, flags, environment, chosen):
    settings.DJANGO_DELAYED = {"SLEEP_DELAY": 9, "READ_AHEAD": 90}
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    command = WorkerCommand()
    options = command.create_parser("manage.py", "jobs_work").parse_args(flags)
    configuration = command.configuration(vars(options))
    assert (configuration.sleep_delay.total_seconds(), configuration.read_ahead) == chosen


@pytest.mark.parametrize(
    ("arguments", "environment", "complaint"),
    [
        (
            ["--sleep-delay", "soon"],
            {},
            "--sleep-delay: 'soon' is not a duration, such as 90 (seconds) or 1:30:00",
        ),
        (["--sleep-delay", "-1"], {}, "'-1' is out of range: a duration is 0 to 36,525 days"),
        (["--sleep-delay", "9" * 30], {}, "is out of range"),
        (["--read-ahead", "0"], {}, "'0' is not a whole number of at least 1."),
        (["--read-ahead", "all"], {}, "'all' is not a whole number of at least 1."),
        (["--min-priority", "high"], {}, "invalid int value: 'high'"),
        (["--queue", " , "], {}, "names no queues"),
        (["--queue", "mail,!"], {}, "'mail,!' names no queues such as mail,tweets or mail_* or '!slow'."),
        (["--queue", "!!mail"], {}, "'!!mail' names no queues"),
        (["--min-priority", "5", "--max-priority", "4"], {}, "no job is between them"),
        ([], {"SLEEP_DELAY": "soon"}, "SLEEP_DELAY has an invalid value: 'soon'"),
        ([], {"READ_AHEAD": "0"}, "READ_AHEAD has an invalid value: '0'"),
        ([], {"MIN_PRIORITY": "high"}, "MIN_PRIORITY has an invalid value: 'high'"),
        ([], {"QUEUES": ","}, "QUEUES has an invalid value: ','"),
    ],
)
@pytest.mark.django_db
def test_an_invalid_value_is_refused_with_its_name(monkeypatch, arguments, environment, complaint):
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    for name in ("jobs_work", "jobs_workoff"):
        with pytest.raises(CommandError, match=re.escape(complaint)):
            call_command(name, *arguments)


def test_an_invalid_value_makes_it_exit_with_an_error(command):
    assert command("jobs_work", "--sleep-delay", "soon").ends() == 2
    assert command("jobs_work", environment={"READ_AHEAD": "0"}).ends() == 2
    assert not WorkerProcess.objects.exists()


@pytest.mark.parametrize("queues", [[], ["--queues", "!mail"]])
def test_in_order_needs_queues(queues):
    with pytest.raises(CommandError, match="--in-order needs queues, by names or patterns"):
        call_command("jobs_workoff", "--in-order", *queues)


def test_the_worker_has_a_row_that_says_where_it_is_and_what_it_serves(command):
    worker = command(
        "jobs_work",
        "--queues",
        "mail,index",
        "--min-priority",
        "-5",
        "--max-priority",
        "5",
        delayed={"LEASE": 1},
    )
    worker.has_said("Worker .* started")
    row = until(lambda: WorkerProcess.objects.filter(pid=worker.child).first())
    assert (row.queues, row.min_priority, row.max_priority) == ("mail,index", -5, 5)
    assert row.hostname
    until(lambda: WorkerProcess.objects.get().heartbeat_at > row.heartbeat_at)
    assert WorkerProcess.objects.get().started_at == row.started_at
    assert worker.stop() == 0
    assert nothing_is_held()


@pytest.mark.parametrize(
    ("flags", "serves"),
    [
        ([], "all queues"),
        (["--queues", "mail, index"], "queues mail, index"),
        (["--queues", "mail,index", "--in-order"], "queues mail, index in this order"),
        (["--min-priority", "-5"], "all queues, priorities from -5"),
        (["--queue", "mail", "--max-priority", "0"], "queues mail, priorities up to 0"),
        (["--min-priority", "-5", "--max-priority", "5"], "all queues, priorities from -5 up to 5"),
    ],
)
def test_supervisor_and_worker_log_where_they_run_and_what_they_serve(command, flags, serves):
    run = command(*ONE_PASS, *flags)
    assert run.ends() == 0
    where = f"database default ({connection.vendor} {connection.settings_dict['NAME']})"
    [supervisor] = run.said("Supervisor started")
    assert supervisor.endswith(
        f"INFO Supervisor started: host:{gethostname()} pid:{run.pid}, {serves}, {where}"
    )
    [worker] = run.said("Worker [0-9a-f]{32} started")
    assert re.search(rf"started: host:{gethostname()} pid:\d+, {serves}, {re.escape(where)}$", worker)
    assert f"pid:{run.pid}," not in worker


def test_a_process_that_a_job_starts_does_not_inherit_the_variable_of_the_worker(command, ledger):
    Environment.perform_later(str(ledger))
    assert command(*ONE_PASS).ends() == 0
    assert "PATH" in ledger.lines[0].split()
    assert "DJANGO_DELAYED_WORKER" not in ledger.lines[0]


@pytest.mark.parametrize("how", ["python -m django", "django-admin", "--settings"])
def test_the_worker_is_started_the_way_the_supervisor_was(command, ledger, how):
    Note.perform_later(str(ledger), "done")
    python = [sys.executable, "-W", "error"]
    if how == "python -m django":
        worker = command(*ONE_PASS, start_with=[*python, "-m", "django"])
    elif how == "django-admin":
        worker = command(*ONE_PASS, start_with=[*python, str(Path(sys.executable).with_name("django-admin"))])
    else:
        flags = ("--settings", "tests.playground.settings")
        worker = command(*ONE_PASS, *flags, environment={"DJANGO_SETTINGS_MODULE": "no.such.module"})
    assert worker.ends() == 0, worker.output
    assert ledger.lines == ["done"]


@pytest.mark.parametrize("name", ["jobs_work", "jobs_workoff", "jobs_clear", "jobs_check"])
def test_a_database_that_was_never_migrated_has_its_own_error(command, name, tmp_path):
    if connection.vendor != "sqlite":
        pytest.skip("an empty database is a file that is easily made on SQLite")
    run = command(name, environment={"DATABASE_NAME": str(tmp_path / "empty.sqlite3")})
    assert run.ends() == 1
    assert run.lines[-1] == (
        "CommandError: The database 'default' has no table django_delayed_delayedjob:"
        " run `manage.py migrate` first."
    )


def test_the_hint_about_migrate_names_the_alias_of_the_queue(settings):
    assert migrate_command() == "manage.py migrate"
    settings.DJANGO_DELAYED = {"DATABASE": "queue"}
    assert migrate_command() == "manage.py migrate --database queue"


def test_a_worker_called_from_another_command_works_too(command, ledger):
    Note.perform_later(str(ledger), "done")
    code = "from django.core.management import call_command; call_command('jobs_work', sleep_delay='0')"
    run = command("shell", "-v", "0", "-c", code)
    assert run.ends() == 0, run.output
    assert ledger.lines == ["done"]


def test_a_worker_in_a_thread_works_too(command, ledger):
    Note.perform_later(str(ledger), "done")
    code = (
        "import threading; from django.core.management import call_command;"
        "thread = threading.Thread(target=call_command, args=['jobs_work', '--sleep-delay=0']);"
        "thread.start(); thread.join()"
    )
    run = command("shell", "-v", "0", "-c", code)
    assert run.ends() == 0, run.output
    assert "Traceback" not in run.output
    assert ledger.lines == ["done"]
    until(no_job_is_left)
