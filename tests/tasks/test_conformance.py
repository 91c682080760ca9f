"""Django's own tests of its tasks, on our backend: which of them pass, and why the others do not."""

import json
import os
import subprocess
import sys

import django
import pytest
from django.db import connection
from tests.stories.markdown import ROOT
from tests.tasks.conformance.source import Unavailable, unpack_tests

IN_MEMORY = "it changes the result that the dummy backend has in memory, and ours is in the database"
REFUSED = "the immediate backend can do nothing of the kind, and ours can"
NOT_PASSED = {
    "dummy_backend.DummyBackendTestCase.test_refresh_result": IN_MEMORY,
    "dummy_backend.DummyBackendTestCase.test_refresh_result_async": IN_MEMORY,
    "immediate_backend.ImmediateBackendTestCase.test_cannot_get_result": REFUSED,
    "immediate_backend.ImmediateBackendTestCase.test_cannot_refresh_result": REFUSED,
    "immediate_backend.ImmediateBackendTestCase.test_cannot_pass_run_after": REFUSED,
    "immediate_backend.ImmediateBackendTestCase.test_throws_keyboard_interrupt": (
        "in a worker, a KeyboardInterrupt of the task's own is an error of the task, which is recorded"
    ),
}
TESTS = {(6, 0): 76, (6, 1): 85}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """The result of each of Django's tests: None, or its error."""
    folder = tmp_path_factory.mktemp("conformance")
    try:
        unpack_tests(folder)
    except Unavailable as why:
        pytest.skip(str(why))
    name = str(connection.settings_dict["NAME"])
    environment = os.environ | {
        "DATABASE_NAME": str(folder / "db.sqlite3")
        if connection.vendor == "sqlite"
        else f"{name}_conformance",
        "DJANGO_SETTINGS_MODULE": "tests.tasks.conformance.settings",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "testproject"))),
    }
    file = folder / "outcomes.json"
    command = [sys.executable, "-m", "tests.tasks.conformance", folder, file]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert file.exists(), done.stderr
    return json.loads(file.read_text())


@pytest.mark.slow
@pytest.mark.skipif(django.VERSION < (6, 0), reason="Django has no tasks of its own")
def test_djangos_own_tests_of_its_tasks_pass_except_those_that_are_listed_with_a_reason(outcomes):
    assert len(outcomes) == TESTS[django.VERSION[:2]]
    failed = {name: error for name, error in outcomes.items() if error}
    assert failed.keys() == NOT_PASSED.keys(), json.dumps(failed, indent=1)
    print(f"{len(outcomes) - len(failed)} of {len(outcomes)} pass")


def test_the_shim_stays_small():
    shim = ROOT / "tests/tasks/conformance/shim.py"
    assert len(shim.read_text().splitlines()) <= 40
