from datetime import timedelta

import pytest
from django.db import DatabaseError, connection
from django_delayed.worker.activity import Activity
from django_delayed.worker.configuration import Configuration
from django_delayed.worker.shutdown import Shutdown
from django_delayed.worker.worker import Worker
from tests.playground.processes import command, ledger, work
from tests.sleep import clock, wakeup

__all__ = ["clock", "command", "ledger", "wakeup", "work"]


@pytest.fixture
def activity():
    activity = Activity()
    yield activity
    activity.close()


@pytest.fixture
def worker(wakeup, activity):
    """A worker that claims ten rows at once, and ends when nothing is ready."""
    with Shutdown() as shutdown:
        worker = Worker("1" * 32, Configuration(sleep_delay=timedelta(0)), wakeup, shutdown, activity)
        worker.batch_size.size = 10
        yield worker


@pytest.fixture
def refusal():
    """The error of a statement that this database refuses until somebody repairs something."""
    with pytest.raises(DatabaseError) as caught, connection.cursor() as cursor:
        cursor.execute("SELECT a_column_that_is_not_there FROM django_delayed_delayedjob")
    return caught.value
