"""What the tests of a supervisor share."""

import sys

import pytest
from django_delayed.supervisor import process
from tests.sleep import clock, wakeup

__all__ = ["clock", "wakeup"]


@pytest.fixture
def runs(monkeypatch):
    """Let the process of a worker run this code instead of a worker."""

    def run(code):
        monkeypatch.setattr(process, "worker_command", lambda: [sys.executable, "-S", "-c", code])

    return run
