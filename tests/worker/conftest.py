import pytest
from django_delayed.worker.wakeup import Wakeup
from tests.playground.processes import command, ledger, work

__all__ = ["command", "ledger", "work"]


@pytest.fixture
def wakeup():
    wakeup = Wakeup()
    yield wakeup
    wakeup.close()
