"""The number of statements that a plain job costs, from its enqueue to its end."""

import math
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection
from django.db.backends.signals import connection_created
from django_delayed import DeserializationError, enqueue_all
from django_delayed.databases import watches
from django_delayed.execution.outcomes import decide
from django_delayed.execution.settle import settle
from django_delayed.models import DelayedJob
from django_delayed.worker.activity import Activity
from django_delayed.worker.configuration import DONE, Configuration
from django_delayed.worker.shutdown import Shutdown
from django_delayed.worker.wakeup import Wakeup
from django_delayed.worker.worker import Worker
from tests.blog.jobs import CALLS, Atomic, Plain, Ruled
from tests.blog.work import perform
from tests.connections import wrapped

W1 = "1" * 32
# The lanes, and the UPDATE that takes and returns the rows. PostgreSQL sets a parameter for a batch. MySQL
# and MariaDB lock the rows of each lane, update them and read them.
CLAIM = {"sqlite": (2, 2), "postgresql": (2, 3), "mysql": (4, 4)}[connection.vendor]
# Statements that control transactions; only some databases show them.
CONTROL = ("BEGIN", "SAVEPOINT", "RELEASE")

pytestmark = pytest.mark.django_db(transaction=True)


def statements_of(function):
    """The statements of the function, on all connections, and what it returns."""
    statements = []
    connection.ensure_connection()

    def note(execute, sql, params, many, context):
        if not sql.startswith(CONTROL):
            statements.append(sql)
        return execute(sql, params, many, context)

    with wrapped(note):
        result = function()
    return statements, result


@pytest.mark.parametrize("count", [1, 7])
def test_an_enqueue_is_one_statement_for_one_job_or_many(count, monkeypatch):
    # Otherwise an earlier enqueue may have woken the workers a moment ago, and this one would not.
    monkeypatch.setattr(watches, "_notified_at", -math.inf)
    statements, _ = statements_of(lambda: enqueue_all([Plain(number) for number in range(count)]))
    [sql] = statements
    assert sql.count("INSERT INTO") == 1
    assert ("pg_notify" in sql) == (connection.vendor == "postgresql")


@pytest.mark.parametrize("count", [1, 7])
def test_what_new_rows_have_in_common_is_written_once_and_the_rest_as_few_parameters(count):
    given = []

    def note(execute, sql, params, many, context):
        if "INSERT INTO" in sql:
            given.append(len(params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        enqueue_all([Plain(number) for number in range(count)])
    # The parameters are the name, the queue and the payload; only the payloads differ.
    assert given == [3 if count == 1 or connection.vendor == "postgresql" else 3 * count]


@pytest.mark.parametrize(("limit", "number"), [(1, CLAIM[0]), (7, CLAIM[1])])
def test_a_claim_has_a_fixed_number_of_statements(limit, number):
    enqueue_all([Plain() for _ in range(7)])
    statements, rows = statements_of(lambda: DelayedJob.objects.claim(W1, limit))
    assert len(rows) == limit
    assert len(statements) == number


def test_a_plain_job_is_performed_without_a_statement_and_settled_with_one():
    Plain.perform_later()
    [row] = DelayedJob.objects.claim(W1)
    opened = []
    connection_created.connect(
        lambda connection, **_: opened.append(connection), weak=False, dispatch_uid="one"
    )
    statements, outcome = statements_of(lambda: perform(row))
    connection_created.disconnect(dispatch_uid="one")
    assert (statements, opened) == ([], [])
    statements, lost = statements_of(lambda: settle([(row, outcome)]))
    assert (len(statements), lost) == (1, [])
    assert statements[0].startswith("DELETE")


@pytest.mark.parametrize("jobs", [1, 5])
def test_with_batching_off_postgresql_settles_a_job_with_the_claim_of_the_next_one(jobs):
    enqueue_all([Plain() for _ in range(jobs)])
    wakeup, activity, shutdown = Wakeup(), Activity(), Shutdown()
    configuration = Configuration(sleep_delay=timedelta(0), read_ahead=1)
    statements, code = statements_of(Worker(W1, configuration, wakeup, shutdown, activity).run)
    wakeup.close()
    activity.close()
    assert (code, DelayedJob.objects.count()) == (DONE, 0)
    counted = Counter("removed" if "removed AS" in sql else sql.split()[0] for sql in statements)
    if connection.vendor == "postgresql":
        # The claim that finds nothing removes the last one if it uses the lanes that were read a moment ago.
        assert (counted["removed"], counted["DELETE"]) in {(jobs, 0), (jobs - 1, 1)}
    else:
        assert (counted["removed"], counted["DELETE"]) == (0, jobs)


def test_an_atomic_job_has_no_more_statements_than_a_plain_one(monkeypatch):
    monkeypatch.setitem(CALLS, "nothing", lambda job: None)
    Atomic.perform_later("nothing")
    [row] = DelayedJob.objects.claim(W1)
    statements, outcome = statements_of(lambda: perform(row))
    assert [sql.split()[0] for sql in statements] == ["DELETE"]
    assert statements_of(lambda: settle([(row, outcome)])) == ([], [])


def test_a_job_with_rules_has_one_statement_more_and_the_next_failure_another(monkeypatch):
    monkeypatch.setitem(CALLS, "ruled", KeyError)
    Ruled.perform_later()
    read, settled = [], []
    for _ in range(2):
        [row] = DelayedJob.objects.claim(W1)
        statements, outcome = statements_of(lambda row=row: perform(row))
        read.append([sql.split()[0] for sql in statements])
        statements, _ = statements_of(lambda row=row, outcome=outcome: settle([(row, outcome)]))
        settled.append([sql.split()[0] for sql in statements])
        DelayedJob.objects.run_now()
    assert read == [[], ["SELECT"]]
    assert settled == [["UPDATE", "UPDATE", "INSERT", "SELECT", "UPDATE"]] * 2


def test_a_job_that_fails_is_settled_with_four_statements_and_the_next_attempt_with_two():
    Plain.perform_later()
    [row] = DelayedJob.objects.claim(W1)
    outcome = decide(row, None, DeserializationError("it broke"))
    statements, _ = statements_of(lambda: settle([(row, outcome)]))
    assert [sql.split()[0] for sql in statements] == ["UPDATE", "UPDATE", "INSERT", "SELECT"]
    DelayedJob.objects.retry()
    [row] = DelayedJob.objects.claim(W1)
    statements, _ = statements_of(lambda: settle([(row, perform(row))]))
    assert [sql.split()[0] for sql in statements] == ["DELETE", "DELETE"]
