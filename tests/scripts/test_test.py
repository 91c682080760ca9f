"""The script of `make test`, on test files that are written here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(connection.vendor != "sqlite", reason="asks no database of the tests")

FLAKY = """
from pathlib import Path

import pytest


@pytest.mark.parametrize("number", range({number}))
def test_passes_the_second_time(number):
    file = Path(__file__).with_name(f"run_{{number}}")
    assert file.exists(), file.touch()
"""


@pytest.fixture
def run(tmp_path):
    def run(source, *databases):
        (tmp_path / "test_this.py").write_text(source)
        return subprocess.run(
            [sys.executable, ROOT / "scripts" / "test.py", *databases],
            env={**os.environ, "PYTEST_ADDOPTS": f"--rootdir={tmp_path} -c {ROOT}/pyproject.toml {tmp_path}"},
            capture_output=True,
            text=True,
        )

    return run


@pytest.mark.parametrize(
    ("source", "code", "result"),
    [
        ("def test_this():\n    pass", 0, "passed"),
        ("def test_this():\n    assert False", 1, "FAILED"),
        ("def test_this(:", 1, "FAILED"),
        (FLAKY.format(number=3), 0, "passed, but not at first"),
        (FLAKY.format(number=4), 1, "FAILED"),
    ],
)
def test_up_to_three_tests_that_fail_are_run_again_and_named(run, source, code, result):
    done = run(source, "sqlite")
    assert done.returncode == code, done.stdout
    last = done.stdout.splitlines()[-1].split(maxsplit=1)[1]
    assert last.split(":")[0].split(", ")[0] == result.split(", ")[0]
    assert result in last
    if "not at first" in result:
        assert last.count("test_passes_the_second_time") == 3


def test_it_says_at_the_start_how_long_it_takes(run):
    first = run("def test_this():\n    pass", "sqlite").stdout.splitlines()[0]
    assert "minutes" in first
    assert "sqlite" in first


def test_a_database_that_does_not_exist_is_named_with_those_that_do(run):
    done = run("", "oracle")
    assert done.returncode == 1
    assert done.stderr == "oracle: none of sqlite, postgresql, mariadb\n"
