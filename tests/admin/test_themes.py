"""The admin with the newest versions of themes, which CI installs with the oldest and the newest Django."""

import subprocess

import pytest
from django.db import connection
from tests.playground.environments import PATIENCE, environment
from tests.stories.markdown import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(connection.vendor != "sqlite", reason="the program has a database of its own"),
]


@pytest.fixture(scope="module")
def python():
    """The interpreter of an environment that has the themes."""
    return environment("themes", "django-unfold", "django-jazzmin")


@pytest.mark.parametrize("theme", ["unfold", "jazzmin"])
def test_the_pages_and_their_buttons_work_with_a_theme(python, theme):
    done = subprocess.run(
        [python, ROOT / "tests/admin/themed.py", theme], env={"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "all is well" in done.stdout
