import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from django.db import connection
from django_delayed import delay
from django_delayed.serialization import names
from tests.blog import jobs
from tests.blog.diary import entries
from tests.blog.models import Post
from tests.playground.waiting import until

ROOT = Path(__file__).resolve().parent.parent
MANAGE = ROOT / "testproject" / "manage.py"

os.environ["DEBUG"] = "0"  # for the processes that tests start; in this process pytest-django sets it


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker):
    """Extend the fixture of pytest-django: at the end, wait for the sessions of processes that were killed.

    A busy PostgreSQL takes a while to notice their end, and does not drop a database with other sessions.
    """
    yield
    if connection.vendor == "postgresql":
        with django_db_blocker.unblock():
            with suppress(AssertionError):
                until(lambda: not other_sessions())
            assert other_sessions() == []
            connection.close()


def other_sessions():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid, query FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid != pg_backend_pid() AND backend_type = 'client backend'"
        )
        return cursor.fetchall()


@pytest.fixture(autouse=True)
def media_root(settings, tmp_path):
    """Keep files that a test uploads or draws out of the files of the demo."""
    settings.MEDIA_ROOT = tmp_path / "media"
    return settings.MEDIA_ROOT


@pytest.fixture(autouse=True)
def names_forgotten():
    """Forget what earlier tests have found under names, because some tests replace modules."""
    names.found_under.cache_clear()


@pytest.fixture
def post():
    return Post.objects.create(title="a")


@pytest.fixture
def diary():
    """What the jobs and models of `tests.blog` have done, in order."""
    entries.clear()
    return entries


@pytest.fixture
def in_job(monkeypatch):
    """Enqueue a job that calls this function, in this process; gives its row."""

    def enqueue(function, **options):
        name = str(len(jobs.CALLS))
        monkeypatch.setitem(jobs.CALLS, name, function)
        return delay(jobs.call, **options)(name)

    return enqueue


@pytest.fixture
def child_environment(transactional_db):
    """The environment of a separate Python process that uses the database of the tests."""
    paths = [ROOT, MANAGE.parent, os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "DATABASE_NAME": str(connection.settings_dict["NAME"]),
        "PYTHONPATH": os.pathsep.join(map(str, filter(None, paths))),
        "PYTHONWARNINGS": "error",
    }


@pytest.fixture
def manage(child_environment):
    """Start `manage.py` with these arguments as a process on the database of the tests.

    `start_with` is another program to start it with, `environment` is added to the present one, and other
    keywords go to Popen. Gives the Popen, with its output and errors as one pipe of text. Processes that
    still run at the end of the test are killed.
    """
    processes = []

    def start(*arguments, start_with=(sys.executable, MANAGE), environment=None, **options):
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(
            [*start_with, *map(str, arguments)],
            env={**child_environment, "PYTHONUNBUFFERED": "1", **(environment or {})},
            **(streams | {"text": True} | options),
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        with process:  # this waits, and closes the pipes
            process.kill()
