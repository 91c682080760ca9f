"""The connection on which a worker claims."""

import time

import pytest
from django.db import connection, connections
from django_delayed import enqueue_all
from django_delayed.states import DelayedJobQuerySet
from django_delayed.worker.activity import Activity
from django_delayed.worker.batch_size import BATCH_SECONDS
from django_delayed.worker.claims import Claims
from django_delayed.worker.configuration import Configuration
from django_delayed.worker.shutdown import Shutdown
from django_delayed.worker.statements import Statements
from tests.blog.jobs import Plain

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def claims(wakeup):
    activity, shutdown = Activity(), Shutdown()
    statements = Statements(activity.slots[0], wakeup, shutdown)
    yield Claims("1" * 32, Configuration(), activity, activity.slots[0], statements, wakeup, shutdown)
    activity.close()


@pytest.mark.parametrize("is_old", [True, False])
def test_a_connection_that_has_reached_its_age_is_closed_before_a_claim(claims, monkeypatch, is_old):
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 3600)
    connection.close()
    connection.connect()
    session = connection.connection
    connection.close_at = time.monotonic() + (-1 if is_old else 3600)
    assert claims.take(1) == []
    assert (connection.connection is not session) == is_old
    connection.close()


def test_while_there_is_more_than_enough_to_do_the_lanes_are_read_now_and_then(claims, monkeypatch):
    asked = []
    claim = DelayedJobQuerySet.claim

    def note(rows, worker, limit, filters, recent):
        asked.append(recent)
        return claim(rows, worker, limit, filters, recent)

    monkeypatch.setattr(DelayedJobQuerySet, "claim", note)
    enqueue_all([Plain(number) for number in range(5)])
    assert [len(claims.take(2)) for _ in range(4)] == [2, 2, 1, 0]
    assert asked == [0, BATCH_SECONDS, BATCH_SECONDS, 0]
