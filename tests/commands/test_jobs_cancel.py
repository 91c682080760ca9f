"""jobs_cancel asks running jobs to end. What they do then is in supervisor/test_cancelling.py."""

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone
from django_delayed.models import DelayedJob, WorkerProcess, WorkerRequest

pytestmark = pytest.mark.django_db

WORKER = "1" * 32


@pytest.fixture(autouse=True)
def operator(monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "ann")


@pytest.fixture
def rows():
    """Jobs by their names: two that run, one that waits, and one that has failed."""
    now = timezone.now()
    WorkerProcess.objects.create(id=WORKER, hostname="host", pid=7, started_at=now, heartbeat_at=now)
    held = {"locked_at": now, "locked_by": WORKER, "attempts": 1}
    columns = {
        "mail": {**held, "lock_token": 1, "queue": "mail"},
        "feed": {**held, "lock_token": 2},
        "waiting": {},
        "failed": {"failed_at": now},
    }
    return {
        name: DelayedJob.objects.create(name=name, payload="{}", **values) for name, values in columns.items()
    }


def asked():
    """The id and the claim of each job that was asked to end, and who asked."""
    values = WorkerRequest.objects.filter(worker=WORKER, verb="cancel").order_by("delayed_job_id")
    return list(values.values_list("delayed_job_id", "lock_token", "requested_by"))


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ([], ["mail", "feed"]),
        (["--queue", "mail"], ["mail"]),
        (["--name", "fee"], ["feed"]),
        (["--created-at-to", "2020-01-01"], []),
        (["--error-class", "KeyError"], []),
    ],
    ids=str,
)
def test_the_running_jobs_that_the_filters_find_are_asked(rows, capsys, flags, names):
    call_command("jobs_cancel", "--no-input", *flags)
    assert asked() == [(rows[name].pk, rows[name].lock_token, "ann") for name in names]
    jobs = f"{len(names)} job{'s' * (len(names) != 1)}"
    end = f"{jobs} asked to end." if names else "There is no job that can be asked to end."
    assert end in capsys.readouterr().out


def test_jobs_are_named_by_their_ids(rows, capsys):
    call_command("jobs_cancel", str(rows["feed"].pk), "--no-input")
    assert asked() == [(rows["feed"].pk, 2, "ann")]
    assert "jobs_discard" not in capsys.readouterr().out


def test_it_names_the_command_for_jobs_that_wait(rows, capsys):
    call_command("jobs_cancel", *(str(row.pk) for row in rows.values()), "--no-input")
    assert len(asked()) == 2
    said = capsys.readouterr().out
    assert "Some of these jobs wait, and do not run: jobs_discard removes them." in said
    assert "2 jobs asked to end." in said


def test_a_job_is_asked_once(rows, capsys):
    for _ in range(2):
        call_command("jobs_cancel", rows["mail"].pk, interactive=False)
    assert asked() == [(rows["mail"].pk, 1, "ann")]
    assert capsys.readouterr().out.splitlines()[-1] == "There is no job that can be asked to end."


def test_a_dry_run_asks_nobody(rows, capsys):
    call_command("jobs_cancel", "--dry-run")
    assert asked() == []
    assert "        2 running" in capsys.readouterr().out


@pytest.mark.parametrize("answer", ["no", "yes"])
def test_it_asks_the_operator_first(rows, monkeypatch, answer):
    questions = []
    monkeypatch.setattr("builtins.input", lambda question: questions.append(question) or answer)
    if answer == "yes":
        call_command("jobs_cancel")
    else:
        with pytest.raises(CommandError, match="No job was asked to end"):
            call_command("jobs_cancel")
    assert questions == ["2 jobs will be asked to end. Type 'yes' to continue: "]
    assert len(asked()) == (2 if answer == "yes" else 0)


@pytest.mark.parametrize("given", ["0", "-1", "all"])
def test_an_invalid_id_is_refused(rows, given):
    with pytest.raises(CommandError, match="is not a whole number of at least 1"):
        call_command("jobs_cancel", given, "--no-input")
    assert asked() == []


def test_a_job_of_a_worker_that_is_gone_is_not_asked(rows, capsys):
    WorkerProcess.objects.all().delete()
    call_command("jobs_cancel", "--no-input")
    assert asked() == []
    assert "2 jobs skipped: changed or gone meanwhile." in capsys.readouterr().out
