"""A database that an earlier state of the code has written is migrated, and its rows are worked off.

scripts/stored_database has written each of them. Rows of payload versions that no worker knows are added.
"""

import json
import os
import subprocess
import sys

import pytest
from django.db import connection
from tests.stories.markdown import ROOT


@pytest.fixture(scope="module")
def said():
    """What `tests.upgrade.reading` says of the stored database of this vendor."""
    name = f"upgrade_{os.getpid()}"
    environment = {
        **os.environ,
        "DATABASE_NAME": name if connection.vendor != "sqlite" else f"{name}.sqlite3",
        "DJANGO_SETTINGS_MODULE": "tests.upgrade.settings",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "testproject")]),
        "PYTHONWARNINGS": "error",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.upgrade.reading"],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_stored_rows_are_in_the_states_in_which_they_were_written(said):
    states = {"finished": 2, "failed": 3, "retrying": 2, "running": 3, "enqueued": 7, "scheduled": 2}
    assert said["stored"] == {"states": states, "done": []}
    assert (said["attempts"], said["note"]) == (5, "Their server was moved.")


def test_due_rows_and_rows_of_a_dead_worker_are_worked_off(said):
    assert said["worked off"]["done"] == [
        [["0:05:00"], {}],
        [["1 of a batch"], {}],
        [["2 of a batch"], {}],
        [["begun"], {}],
        [["call", "1.50"], {"also": [1, "two"]}],
        [["hourly"], {}],
        [["unique"], {}],
    ]
    assert said["mails"] == ["Hello"]
    assert said["workers"] == 0
    # The job of a paused queue stays.
    assert said["worked off"]["states"] == {
        "finished": 3, "failed": 4, "retrying": 2, "scheduled": 3, "enqueued": 1
    }  # fmt: skip


def test_a_row_of_a_later_payload_version_waits_and_one_without_a_version_fails(said):
    assert said["unknown"] == [["scheduled", 0, ""], ["failed", 1, "DeserializationError"]]


def test_an_operator_can_move_the_others_and_a_job_in_steps_goes_on_where_it_was(said):
    assert said["moved by an operator"]["done"] == [
        [["failed"], {}],
        [["retrying"], {}],
        [["scheduled"], {}],
        [["step", "2"], {}],
        [["step", "2"], {}],
        [["unique and scheduled"], {}],
    ]


def test_the_stored_schedule_goes_on_and_the_stored_results_can_be_read(said):
    assert said["later"]["done"] == [[["hourly"], {}]]
    assert said["results"] == [["SUCCESSFUL", 3], ["SUCCESSFUL", 1], ["SUCCESSFUL", 7]]
    # These are the rows that are kept, the paused one, and the two that nobody can read.
    assert said["later"]["states"] == {"finished": 4, "enqueued": 1, "scheduled": 1, "failed": 1}
