"""jobs_import_from moves tasks that wait in other queues, as the packages of those queues write them."""

import json
import os
import re
import subprocess
import threading

import django
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, connection
from django_delayed import delay
from django_delayed.enqueueing import enqueue_in_transaction
from django_delayed.management.commands import jobs_import_from
from django_delayed.management.imports import importer
from django_delayed.management.imports.importer import Import, Stays
from django_delayed.models import DelayedJob
from tests.blog.jobs import resize
from tests.blog.models import Post
from tests.connections import in_thread
from tests.playground.environments import PATIENCE, environment
from tests.stories.markdown import ROOT

__all__ = ["in_thread"]

THEIR_APPS = {"background_tasks": "background_task", "tasks_db": "django_tasks_db"}


@pytest.fixture(scope="module")
def python():
    """The interpreter of an environment that has both packages."""
    framework = ["django-tasks"] if django.VERSION < (6, 0) else []
    return environment("queues", "django-background-tasks", "django-tasks-db", *framework)


def reasons(lines):
    """The reasons in these lines why rows stay, without the number of rows, our module and their ids."""
    return {
        re.sub(r"^ *\d+ (?:tests\.imported\.)?(.*) \([^)]*\)$", r"\1", line)
        for line in lines
        if " stays: " in line
    }


@pytest.fixture
def moved(python, tmp_path):
    """Move the tasks of a queue in a process of `tests.imported`. Returns what it prints."""

    def run(source):
        theirs = {name: value for name, value in os.environ.items() if "DJANGO" not in name}
        ours = {"THEIR_APP": THEIR_APPS[source], "DJANGO_SETTINGS_MODULE": "tests.imported.settings"}
        done = subprocess.run(
            [python, "-m", f"tests.imported.{source}"], cwd=tmp_path, capture_output=True, text=True,
            env={**theirs, **ours, "PYTHONPATH": str(ROOT)}, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.mark.slow
@pytest.mark.skipif(connection.vendor != "sqlite", reason="their project is on SQLite")
def test_tasks_of_django_background_tasks_are_moved_once_and_the_others_stay_with_the_reason(moved):
    found = moved("background_tasks")
    said, missing = (
        found["said"],
        "does not exist. If it has moved, give its new name in DJANGO_DELAYED['ALIASES']",
    )
    assert [line.split() for line in said["dry run"][:2]] == [
        ["3", "tests.imported.work.note"],
        ["2", "tests.imported.tasks.remind"],
    ]
    assert reasons(said["dry run"]) == {
        "work.note stays: it repeats. Write schedule = every(timedelta(days=1)) in a Job class,"
        " or an entry in RECURRING; then delete it.",
        f"work.gone stays: tests.imported.work:gone {missing} or its old one in the aliases of the"
        " Job, or import it at the old place; then retry the job.",
        "no_module stays: no function can be found by a name without a module. Let process_tasks perform it.",
        "decorated.greet stays: it is decorated with @background. Take the decorator away, so"
        " that the name leads to a function.",
        "work.note stays: it runs, or its worker was killed. Run this again when process_tasks"
        " has ended, and MAX_RUN_TIME has passed.",
        "tasks.remind stays: Remind.perform(): too many positional arguments.",
    }
    assert "the disk is full" in said["broken"]
    assert said["moved"][:-1] == [*said["dry run"], "4 tasks moved."]
    refused = {
        "tasks.remind stays: its job is refused: by a before_enqueue, or because it is unique and"
        " an equal one waits."
    }
    assert reasons(said["moved"]) == reasons(said["dry run"]) | refused
    assert "0 tasks moved." in said["again"]
    assert [(row["name"], row["queue"], row["priority"]) for row in found["ours"]] == [
        ("note", "default", "1"),
        ("Remind", "default", "0"),
        ("note", "default", "0"),
        ("note", "mail", "-3"),
    ]
    assert found["ours"][3]["run_at"] == "2030-01-02 00:00:00+00:00"
    assert len(found["theirs"]) == 7
    done = [[[1], {"a": [2]}], ["remind", "Ada"], [["left by a dead worker"], {}], [["second"], {}]]
    assert found["done"] == done


@pytest.mark.slow
@pytest.mark.skipif(connection.vendor != "sqlite", reason="their project is on SQLite")
def test_tasks_of_django_tasks_db_are_moved_once_and_the_others_stay_with_the_reason(moved):
    found = moved("tasks_db")
    said = found["said"]
    assert said["dry run"][0].split() == ["2", "tests.imported.tasks.note"]
    assert reasons(said["dry run"]) == {
        "tasks.note stays: Queue 'no queue of TASKS' is not valid for backend.",
        "tasks.note stays: it runs, or its worker was killed. If no db_worker runs any more, set"
        " its status to READY, and run this again.",
        "tasks.gone stays: tests.imported.tasks:gone does not exist. If it has moved, see"
        " DJANGO_DELAYED['ALIASES'].",
        "tasks.note stays: TASKS['theirs'] does not name DelayedBackend. Change that first.",
        "tasks.note stays: TASKS['gone'] does not name DelayedBackend. Change that first.",
    }
    assert "the disk is full" in said["broken"]
    assert said["moved"] == [*said["dry run"], "2 tasks moved."]
    assert said["again"] == [*said["dry run"][1:], "There is no task that can be moved."]
    first, second = found["ours"]
    assert first == {
        "name": "note", "queue": "mail", "priority": "-7", "run_at": "2030-01-02 00:00:00+00:00"
    }  # fmt: skip
    assert (second["queue"], second["priority"]) == ("default", "3")
    # The five tasks that stay, and one that was performed.
    assert len(found["theirs"]) == 6
    assert found["done"] == [[[1], {"a": [2]}], [["second"], {"a": [2]}]]


class Posts:
    """Another queue for these tests: each post is a task."""

    model = Post

    def unfinished(self):
        return Post.objects.order_by("pk")

    def name_of(self, row):
        return row.title

    def job_of(self, row):
        if row.title == "stays":
            raise Stays("because")
        return delay(resize).job(row.title)


@pytest.fixture
def titles(db):
    """Write posts with these titles."""
    return lambda *titles: Post.objects.bulk_create([Post(title=title) for title in titles])


def left():
    return list(Post.objects.order_by("pk").values_list("title", flat=True))


def test_rows_are_moved_in_chunks_and_a_chunk_with_an_error_is_rolled_back(titles, monkeypatch):
    titles(*"abcde")
    monkeypatch.setattr(importer, "ROWS_AT_A_TIME", 2)
    found, left_to_enqueue = Import(Posts()), [3]
    found.look()

    def enqueue(job):
        left_to_enqueue[0] -= 1
        if left_to_enqueue[0] < 0:
            raise DatabaseError("no")
        return enqueue_in_transaction(job)

    monkeypatch.setattr(importer, "enqueue_in_transaction", enqueue)
    with pytest.raises(DatabaseError):
        found.move()
    assert (left(), DelayedJob.objects.count()) == ([*"cde"], 2)
    monkeypatch.undo()
    assert found.move() == 3
    assert (left(), DelayedJob.objects.count()) == ([], 5)


@pytest.mark.django_db(transaction=True)
def test_two_moves_of_the_same_rows_at_once_move_each_row_once(titles, in_thread):
    titles(*map(str, range(30)))
    barrier = threading.Barrier(2)

    def move():
        found = Import(Posts())
        found.look()
        barrier.wait(60)
        return found.move()

    both = [in_thread(move) for _ in range(2)]
    assert sum(one.result() for one in both) == 30
    assert (left(), DelayedJob.objects.count()) == ([], 30)


def test_rows_that_cannot_be_moved_are_grouped_by_reason_and_none_is_moved_without_a_yes(
    titles, monkeypatch, capsys
):
    titles("a", *["stays"] * 12)
    monkeypatch.setattr(jobs_import_from, "_source", lambda name: Posts())
    monkeypatch.setattr("builtins.input", lambda question: print(question) or "no")
    with pytest.raises(CommandError, match=r"Nothing was moved\."):
        call_command("jobs_import_from", "background_tasks")
    said = capsys.readouterr().out
    assert re.search(r"^ +12 stays stays: because \((\d+, ){9}\d+ …\)$", said, re.MULTILINE)
    assert "1 task will be moved into the queue of django_delayed." in said
    assert (len(left()), DelayedJob.objects.count()) == (13, 0)


def test_rows_of_another_database_are_refused(settings):
    class Elsewhere:
        def db_for_write(self, model, **hints):
            return "other"

    settings.DATABASE_ROUTERS = [Elsewhere()]
    with pytest.raises(CommandError, match=r"in the database 'other', and the queue is in 'default'"):
        Import(Posts())


@pytest.mark.django_db
@pytest.mark.parametrize("source", THEIR_APPS)
def test_the_app_of_the_other_queue_has_to_be_installed(source):
    with pytest.raises(CommandError, match=rf"'{THEIR_APPS[source]}' is not in INSTALLED_APPS"):
        call_command("jobs_import_from", source)
