"""Connections and the pool of psycopg: how many are opened, and how pools are switched off for a block."""

import json

import pytest
from django.db import connection, connections
from django_delayed.databases.sessions import without_pools
from tests.playground.jobs import Ask
from tests.playground.processes import command, ledger, no_job_is_left, until, work

__all__ = ["command", "ledger", "work"]

on_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="Django has a pool for PostgreSQL only"
)


def opened_by_others():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> %s",
            [connection.connection.info.backend_pid],
        )
        return cursor.fetchone()[0]


def with_pool(**options):
    return {"DATABASE_OPTIONS": json.dumps({"pool": options})}


@on_postgresql
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "size", [{"min_size": 1, "max_size": 1}, {"min_size": 4, "max_size": 8}, {}], ids=repr
)
def test_jobs_workoff_sends_heartbeats_during_a_job_whatever_the_pool_holds(command, ledger, size):
    Ask.perform_later(str(ledger), 7)
    run = command("jobs_workoff", delayed={"LEASE": 3}, environment=with_pool(**size))
    ledger.has("asked")
    # They are for the queue, for the heartbeat and for the job.
    assert until(lambda: opened_by_others() == 3)
    other = command("jobs_workoff", delayed={"LEASE": 3})
    assert (run.ends(), other.ends()) == (0, 0)
    assert ledger.lines == ["asked"]
    assert no_job_is_left()


@on_postgresql
@pytest.mark.django_db(transaction=True)
def test_jobs_work_opens_three_connections_whatever_the_pool_holds_and_two_when_idle(work, ledger):
    worker = work(environment=with_pool(min_size=4, max_size=8))
    Ask.perform_later(str(ledger), 1)
    ledger.has("asked")
    # They are for the supervisor, for the queue and for the job.
    assert opened_by_others() == 3
    until(lambda: opened_by_others() == 2)
    assert worker.stop() == 0


@pytest.mark.parametrize(
    "options", [{"pool": True}, {"pool": {"max_size": 1}, "sslmode": "prefer"}], ids=repr
)
def test_pools_are_there_again_after_the_block(monkeypatch, options):
    given = {**connections.settings["default"], "OPTIONS": options}
    monkeypatch.setitem(connections.settings, "default", given)
    with without_pools():
        assert "pool" not in connections.settings["default"]["OPTIONS"]
        assert connections.settings["default"]["NAME"] == given["NAME"]
    assert connections.settings["default"] is given
