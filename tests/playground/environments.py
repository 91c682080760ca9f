"""Virtual environments with packages that are not in the environment of the tests: made once, and kept."""

import subprocess
import sys

import django
import pytest
from tests.stories.markdown import ROOT

PATIENCE = 240  # seconds for a step that downloads, or migrates the whole of a large project
VERSION = "{}.{}".format(*django.VERSION[:2])


def environment(name, *packages):
    """The interpreter of an environment with these packages and the Django of the tests.

    Skips the test, with the reason, when they cannot be installed.
    """
    folder = ROOT / ".cache" / "{}-{}.{}-{}".format(name, *sys.version_info[:2], VERSION)
    python, complete = folder / "bin/python", folder / "complete"
    needed = [*packages, f"Django~={VERSION}.0", "django-admin-rangefilter"]
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--retries", "1"]
    commands = [[sys.executable, "-m", "venv", "--clear", folder], [*pip, "--timeout", "20", *needed]]
    for command in () if complete.exists() else commands:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip(f"{name} was not installed within {PATIENCE} s")
        if done.returncode:
            pytest.skip(f"{name} cannot be installed: {done.stderr.strip()[-500:]}")
    complete.touch()
    return python
