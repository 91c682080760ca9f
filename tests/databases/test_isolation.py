"""MySQL and MariaDB: polls and claims block nobody, whatever the isolation level of the project is."""

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django_delayed import claiming
from django_delayed.databases import Claim
from django_delayed.models import DelayedJob

W1 = "1" * 32

pytestmark = [
    pytest.mark.skipif(connection.vendor != "mysql", reason="only for MySQL and MariaDB"),
    pytest.mark.django_db(transaction=True),
]


@pytest.fixture(params=["read committed", "repeatable read", "serializable", None])
def isolation(request):
    """The isolation level of the connection; None is the server's own, REPEATABLE READ by default."""
    options = connection.settings_dict["OPTIONS"]
    connection.close()
    connection.settings_dict["OPTIONS"] = {**options, "isolation_level": request.param}
    yield request.param
    connection.close()
    connection.settings_dict["OPTIONS"] = options


@pytest.fixture
def produce_meanwhile(add, other):
    """After each locking read of the code in the block, another connection enqueues a job at the head."""
    with other.cursor() as cursor:
        cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")

    def produce(execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        if sql.endswith("SKIP LOCKED"):
            with other.cursor() as cursor:
                cursor.execute(
                    "INSERT INTO django_delayed_delayedjob (name, about, payload, queue, priority, run_at,"
                    " attempts, crashes, max_attempts, last_error, error_class, error_message,"
                    " error_fingerprint, locked_by, lock_token, result, extras, created_at, claimable)"
                    " VALUES ('new', '', '{}', 'default', 0, UTC_TIMESTAMP(6) - INTERVAL 2 MINUTE,"
                    " 0, 0, 25, '', '', '', '', '', 0, '', 0, UTC_TIMESTAMP(6), 1)"
                )
            produced.append(sql)
        return result

    produced = []
    with connection.execute_wrapper(produce):
        yield produced


def test_a_claim_does_not_keep_producers_from_inserting(add, isolation, produce_meanwhile):
    add("first", due=-60)
    assert [row.name for row in DelayedJob.objects.claim(W1)] == ["first"]
    assert len(produce_meanwhile) == 1
    assert DelayedJob.objects.filter(name="new").count() == 1


def test_a_poll_that_finds_nothing_does_not_keep_producers_from_inserting(
    add, backend, isolation, produce_meanwhile
):
    row = add(due=-60)
    rows = DelayedJob.objects.all()
    lanes = claiming.lanes(rows)
    DelayedJob.objects.all().delete()
    with CaptureQueriesContext(connection):
        assert backend.take(rows, Claim(W1, 1, claiming.COLUMNS), lanes) == []
    assert len(produce_meanwhile) == 1
    assert DelayedJob.objects.exclude(pk=row.pk).count() == 1


@pytest.mark.parametrize("isolation", ["repeatable read"], indirect=True)
def test_without_its_own_transaction_a_poll_would_keep_producers_from_inserting(
    add, backend, isolation, produce_meanwhile
):
    add(due=-60)
    rows = DelayedJob.objects.all()
    lanes = claiming.lanes(rows)
    DelayedJob.objects.all().delete()
    with pytest.raises(OperationalError) as caught, transaction.atomic():
        backend.take(rows, Claim(W1, 1, claiming.COLUMNS), lanes)
    assert caught.value.args[0] == 1205


def levels_set(queries):
    statements = [query["sql"] for query in queries]
    return [sql for sql in statements if sql.startswith("SET") and "ISOLATION" in sql]


def test_a_claim_in_a_callers_transaction_leaves_its_isolation_alone(add, isolation):
    add(due=-1)
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        assert len(DelayedJob.objects.claim(W1)) == 1
    assert levels_set(queries) == []


def test_the_level_is_set_for_the_claim_alone(add, isolation):
    add(due=-1)
    connection.ensure_connection()
    with CaptureQueriesContext(connection) as queries:
        assert len(DelayedJob.objects.claim(W1)) == 1
    setting = [] if isolation == "read committed" else ["SET TRANSACTION ISOLATION LEVEL READ COMMITTED"]
    assert levels_set(queries) == setting
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@tx_isolation")
        [level] = cursor.fetchone()
    cursor_level = level.replace("-", " ").lower()
    assert cursor_level == (isolation or "repeatable read")
