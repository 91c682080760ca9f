"""The page about types: two type checkers refuse exactly the lines that it marks as errors."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection
from tests.stories.markdown import QUICK_START, ROOT, Story, blocks

PAGE = ROOT / "docs/types.md"
PATIENCE = 240  # seconds: pyright is downloaded at its first run
FILES = ["blog/models.py", "blog/jobs.py", "blog/accepted.py", "blog/refused.py"]
# mypy reads this checkout, whatever is installed, and reports no errors in the package itself.
MYPY = f"[mypy]\nstrict = true\nmypy_path = {ROOT}\n[mypy-django_delayed.*]\nfollow_imports = silent\n"
PYRIGHT = {"typeCheckingMode": "strict", "include": FILES, "extraPaths": [str(ROOT)]}
# "blog/refused.py:8: error: …" and "/…/blog/refused.py:8:5 - error: …"
LINE = re.compile(r"(blog/\w+\.py):(\d+)(?::\d+ -|:) error:")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        connection.vendor != "sqlite", reason="a new project is on SQLite, whatever the other tests run on"
    ),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project in which the blocks of the page were followed."""
    story = Story(tmp_path_factory.mktemp("types"))
    [console, settings, *_] = QUICK_START
    story.tell([console, settings, *blocks(PAGE)])
    (story.project / "mypy.ini").write_text(MYPY)
    (story.project / "pyrightconfig.json").write_text(json.dumps(PYRIGHT))
    return story.project


def refused_in(project):
    """The lines that the page marks as errors."""
    for file in FILES:
        for number, line in enumerate((project / file).read_text().splitlines(), 1):
            if "# error: " in line:
                yield file, number


def errors_of(project, *command):
    """The lines in which this checker finds errors, and its whole output."""
    environment = os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=project, env=environment, capture_output=True, text=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip
    # Both exit with 1 when they have found errors, and with 2 or more when they could not run.
    assert done.returncode == 1, done.stdout + done.stderr
    return {(path, int(number)) for path, number in LINE.findall(done.stdout)}, done.stdout


def has(package):
    return pytest.mark.skipif(
        importlib.util.find_spec(package) is None, reason=f"{package} is not installed: 'make lint' does it"
    )


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("mypy", *FILES), marks=has("mypy")),
        pytest.param(("pyright", "--pythonpath", sys.executable), marks=has("pyright")),
    ],
    ids=lambda command: command[0],
)
def test_the_type_checker_refuses_exactly_the_lines_that_the_page_marks(project, command):
    found, said = errors_of(project, *command)
    assert found == {*refused_in(project)}, said
    assert len(found) == 17


def test_the_package_is_marked_as_typed():
    assert (Path(importlib.util.find_spec("django_delayed").origin).parent / "py.typed").exists()
