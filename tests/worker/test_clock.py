"""The clock that a supervisor and its workers share."""

import importlib
import subprocess
import sys
import time

import pytest
from django_delayed.worker import clock
from django_delayed.worker.clock import since_boot


def test_the_clock_is_the_same_in_another_process():
    before = since_boot()
    code = "from django_delayed.worker.clock import since_boot; print(since_boot())"
    other = float(subprocess.check_output([sys.executable, "-c", code], text=True))
    assert before < other < since_boot()


def test_setting_the_wall_clock_does_not_change_it(monkeypatch):
    before = since_boot()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert before <= since_boot() < before + 3600


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="only Linux has CLOCK_BOOTTIME")
def test_it_goes_on_while_the_machine_is_suspended(monkeypatch):
    monkeypatch.setattr(time, "clock_gettime", lambda number: {time.CLOCK_BOOTTIME: 42.0}[number])
    assert since_boot() == 42.0


def test_where_the_system_has_no_such_clock_it_is_the_monotonic_one_of_python(monkeypatch):
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC", "clock_gettime"):
        monkeypatch.delattr(time, name, raising=False)
    monkeypatch.setattr(time, "monotonic", lambda: 7.0)
    try:
        assert importlib.reload(clock).since_boot() == 7.0
    finally:
        monkeypatch.undo()
        importlib.reload(clock)
