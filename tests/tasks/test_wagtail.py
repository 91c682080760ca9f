"""The newest Wagtail, which enqueues its own work as tasks, in a virtual environment of its own."""

import os
import subprocess

import django
import pytest
from django.db import connection
from tests.playground.environments import PATIENCE, environment
from tests.stories.markdown import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        connection.vendor != "sqlite", reason="a new project is on SQLite, whatever the other tests run on"
    ),
]
SETTINGS = f"""
INSTALLED_APPS += ["rangefilter", "django_delayed"{', "django_tasks"' if django.VERSION < (6, 0) else ""}]
TASKS = {{"default": {{"BACKEND": "django_delayed.tasks.DelayedBackend"}}}}
"""
PUBLISH = """
from home.models import HomePage
from wagtail.models import Page

page = HomePage(title="Fresh powder", slug="powder")
HomePage.objects.get(slug="home").add_child(instance=page)
page.save_revision().publish()
print("found:", [found.title for found in Page.objects.search("powder")])
"""
LOOK = """
from django_delayed.models import DelayedJob
from wagtail.models import Page

print("found:", [found.title for found in Page.objects.search("powder")])
print("states:", {str(row.state) for row in DelayedJob.objects.all()})
print("tasks:", sorted(set(DelayedJob.objects.values_list("name", flat=True))))
"""
DELETE = """
from wagtail.models import Page

page = Page.objects.get(slug="powder").specific
page.save_revision().publish()
page.delete()
"""


@pytest.fixture(scope="module")
def python():
    """The interpreter of an environment that has Wagtail."""
    return environment("wagtail", "wagtail")


@pytest.fixture
def run(python, tmp_path):
    """Run a command in a project from Wagtail's own template. Returns its output."""
    environment = {name: value for name, value in os.environ.items() if "DJANGO" not in name}

    def command(*arguments):
        done = subprocess.run(
            [python, *arguments], cwd=tmp_path, env=environment | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    command("-m", "wagtail.bin.wagtail", "start", "mysite", ".")
    with (tmp_path / "mysite/settings/dev.py").open("a") as file:
        file.write(SETTINGS)
    command("manage.py", "migrate", "--verbosity", "0")
    # The migrations and the data of the template have enqueued some.
    command("manage.py", "jobs_clear", "--noinput")
    return command


def test_wagtail_performs_its_own_work_through_this_backend(run):
    assert "no issues" in run("manage.py", "check")
    assert "found: []" in run("manage.py", "shell", "-c", PUBLISH)
    assert "0 failed" in run("manage.py", "jobs_workoff", "--fail-on-error")
    said = run("manage.py", "shell", "-c", LOOK)
    assert "found: ['Fresh powder']" in said
    assert "states: {'finished'}" in said
    # The module of the first task belongs to no app.
    assert "tasks: ['insert_or_update_object_task', 'update_reference_index_task']" in said
    # As docs/tasks.md warns, tasks of a library about a deleted page are tried again.
    run("manage.py", "shell", "-c", DELETE)
    assert " failed" in run("manage.py", "jobs_workoff")
    assert "retrying" in run("manage.py", "shell", "-c", LOOK)
