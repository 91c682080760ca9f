"""Deadlocks and locks pass: our statements are repeated. In a caller's transaction, they are errors."""

import sqlite3
from contextlib import contextmanager
from datetime import timedelta
from itertools import count

import pytest
from django.db import DatabaseError, OperationalError, ProgrammingError, connection, transaction
from django_delayed import enqueue_all
from django_delayed.models import DelayedJob, FailedAttempt
from django_delayed.serialization.errors import describe
from tests.blog.jobs import Plain
from tests.connections import wait_for_a_lock

W1 = "1" * 32
HOUR = timedelta(hours=1)
ERROR = describe(ValueError("it broke"))
vendor = connection.vendor

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def pauses(monkeypatch):
    """The pauses between tries, each at its longest; instead of a pause, `pauses.then` is called."""

    class Pauses(list):
        then = staticmethod(lambda: None)

        def choose(self, shortest, longest):
            assert shortest == 0
            return longest

        def sleep(self, seconds):
            self.append(seconds)
            self.then()

    pauses = Pauses()
    monkeypatch.setattr("django_delayed.databases.base.random.uniform", pauses.choose)
    monkeypatch.setattr("django_delayed.databases.base.time.sleep", pauses.sleep)
    return pauses


@pytest.fixture
def impatient():
    """Waits for a lock end at once, or after the least time that the database knows."""
    least = 0 if vendor == "mysql" and connection.mysql_is_mariadb else 1
    with connection.cursor() as cursor:
        cursor.execute(
            {
                "postgresql": "SET lock_timeout = '50ms'",
                "mysql": f"SET SESSION innodb_lock_wait_timeout = {least}",
                "sqlite": "PRAGMA busy_timeout = 50",
            }[vendor]
        )
    yield
    connection.close()


@pytest.fixture
def lock(other):
    """Lock this row from another connection; ends by `other.rollback()`."""

    def lock(row):
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(f"UPDATE django_delayed_delayedjob SET name = 'locked' WHERE id = {row.pk}")

    yield lock
    other.rollback()


@pytest.fixture
def hold(add):
    """Claim a new row as one of a batch that has not begun; the row has failed before."""

    def hold(**columns):
        add(due=-1, attempts=1, last_error="ValueError: it broke", **columns)
        [row] = DelayedJob.objects.claim(W1, 2)
        FailedAttempt.objects.create(delayed_job=row, number=1, ended_at=row.locked_at, error_class="E")
        return row

    return hold


jobs = DelayedJob.objects
HELD, FAILED, GONE = ("running", 2), ("failed", 2), None
# Moves of a row that is held, with the state and the attempts of the row after each.
MOVES = {
    "finish": (lambda row: jobs.finish(row), GONE),
    "discard_held": (lambda row: jobs.discard_held(row), GONE),
    "reschedule": (lambda row: jobs.reschedule(row, ERROR, HOUR), ("retrying", 2)),
    "fail": (lambda row: jobs.fail(row, ERROR), FAILED),
    "crash": (lambda row: jobs.crash(row, ERROR, None), FAILED),
    "release": (lambda row: jobs.release([row]), ("retrying", 1)),
    "release_claim": (lambda row: jobs.release_claim(W1, row.lock_token), ("retrying", 1)),
    "set_aside": (lambda row: jobs.set_aside([row.pk]), ("failed", 0)),
}
# Moves of a row that has failed or waits for its next attempt.
OPERATORS_MOVES = {
    "run_now": (lambda row: jobs.run_now(), ("retrying", 2)),
    "adjust": (lambda row: jobs.adjust(queue="other", run_at=row.locked_at), ("retrying", 2)),
    "give_up": (lambda row: jobs.give_up("ann"), ("failed", 2)),
    "retry": (lambda row: jobs.retry(), ("enqueued", 0)),
    "discard": (lambda row: jobs.discard(), GONE),
    "discard_batch": (lambda row: jobs.discard_batch([row.pk]), GONE),
    "prune": (lambda row: jobs.prune(), GONE),
}
ALL_MOVES = {**MOVES, **OPERATORS_MOVES}


def row_for(name, hold):
    row = hold()
    if name in ("run_now", "adjust", "give_up"):
        jobs.reschedule(row, ERROR, HOUR)
    elif name in OPERATORS_MOVES:
        jobs.fail(row, ERROR)
        jobs.update(expires_at=row.locked_at)
    return row


def stands(row):
    row = jobs.filter(pk=row.pk).first()
    return (row.state, row.attempts) if row else None


@pytest.mark.parametrize("name", ALL_MOVES)
def test_a_move_that_meets_a_lock_is_made_when_the_lock_is_gone(hold, lock, other, impatient, pauses, name):
    row = row_for(name, hold)
    lock(row)
    pauses.then = other.rollback
    move, after = ALL_MOVES[name]
    assert move(row) == 1
    assert stands(row) == after
    assert len(pauses) == 1


def test_performed_jobs_are_settled_together_when_the_lock_on_one_is_gone(
    add, lock, other, impatient, pauses
):
    for _ in range(2):
        add(due=-1)
    rows = jobs.claim(W1, 2)
    lock(rows[1])
    pauses.then = other.rollback
    ids = {row.pk for row in rows}
    assert jobs.finish_together(W1, rows[0].lock_token, list(ids)) == ids
    assert not jobs.exists()
    assert len(pauses) == 1


@pytest.mark.skipif(vendor == "sqlite", reason="SQLite has one writer at a time")
def test_settling_waits_for_no_row_of_others(add, lock, impatient, pauses):
    # A database prefers to read all rows of a small table.
    for _ in range(40):
        add(due=-1)
    rows = jobs.claim(W1, 30)
    lock(jobs.waiting().first())
    ids = {row.pk for row in rows}
    assert jobs.finish_together(W1, rows[0].lock_token, list(ids)) == ids
    assert pauses == []


def conflict():
    """An error of this database after which the same statement may succeed."""
    if vendor == "mysql":
        return OperationalError(1213, "Deadlock found when trying to get lock")
    cause = sqlite3.OperationalError("database is locked")
    cause.sqlite_errorcode, cause.sqlstate = sqlite3.SQLITE_BUSY, "40P01"
    error = OperationalError(str(cause))
    error.__cause__ = cause
    return error


@contextmanager
def conflict_at(number):
    """A block in which the statement of this number meets a conflict; gives the statements so far."""
    statements = []

    def meet(execute, sql, params, many, context):
        # A NOTIFY is sent after the commit, and nobody waits for it.
        if not sql.startswith("NOTIFY"):
            statements.append(sql)
        if len(statements) == number:
            raise conflict()
        return execute(sql, params, many, context)

    with connection.execute_wrapper(meet):
        yield statements


@pytest.mark.parametrize("name", ALL_MOVES)
def test_a_move_is_made_whichever_of_its_statements_meets_a_conflict(hold, pauses, name):
    move, after = ALL_MOVES[name]
    for number in count(1):
        row = row_for(name, hold)
        attempts = row.failed_attempts.count()
        with conflict_at(number) as statements:
            assert move(row) == 1
        assert stands(row) == after
        added = 1 if name in ("reschedule", "fail", "crash") else 0
        assert FailedAttempt.objects.count() == (attempts + added if after else 0)
        jobs.all().delete()
        if len(statements) < number:
            break
    assert len(pauses) == number - 1 > 0


@pytest.mark.parametrize("limit", [1, 10])
def test_a_claim_is_made_whichever_of_its_statements_meets_a_conflict(add, pauses, limit):
    for number in count(1):
        row = add(due=-1)
        with conflict_at(number) as statements:
            assert DelayedJob.objects.claim(W1, limit) == [row]
        row.refresh_from_db()
        assert (row.state, row.attempts) == ("running", 1)
        if len(statements) < number:
            break
    assert len(pauses) == number - 1 > 0


def test_the_time_when_the_next_row_is_due_is_found_after_a_conflict(add, pauses):
    add(due=-1)
    with conflict_at(1):
        assert DelayedJob.objects.next_due() < 0
    assert len(pauses) == 1


@pytest.mark.parametrize("name", ["finish", "fail", "release", "discard"])
def test_a_lock_surfaces_in_a_callers_transaction(
    hold, lock, other, impatient, begins_as_a_reader, pauses, backend, name
):
    row = row_for(name, hold)
    lock(row)
    pauses.then = other.rollback
    move, _ = ALL_MOVES[name]
    with transaction.atomic():
        with pytest.raises(OperationalError) as caught:
            move(row)
        transaction.set_rollback(True)
    assert backend.is_conflict(caught.value)
    assert not pauses


def test_a_lock_that_stays_surfaces_in_the_end_after_growing_pauses(
    hold, lock, impatient, pauses, backend, monkeypatch
):
    monkeypatch.setattr("django_delayed.databases.base.TRIES", 4)
    row = hold()
    lock(row)
    with pytest.raises(OperationalError) as caught:
        DelayedJob.objects.finish(row)
    assert backend.is_conflict(caught.value)
    assert pauses == [0.01, 0.02, 0.04]


def test_the_pauses_between_tries_double_up_to_five_seconds(pauses, backend):
    tried = []

    def meet():
        tried.append(1)
        raise conflict()

    with pytest.raises(OperationalError):
        backend.repeat_on_conflict(meet)
    assert pauses == [min(0.01 * 2**n, 5) for n in range(11)]
    assert len(tried) == 12


def test_the_result_of_the_last_try_is_returned(pauses, backend):
    errors = [conflict() for _ in range(11)]

    def meet():
        if errors:
            raise errors.pop()
        return "done"

    assert backend.repeat_on_conflict(meet) == "done"


def test_a_claim_does_not_wait_for_a_locked_row(add, other, impatient, pauses):
    if vendor == "mysql":
        with connection.cursor() as cursor:
            # MariaDB with a timeout of 0 refuses SKIP LOCKED.
            cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")
    rows = [add("locked", due=-60), add("free", due=-30)]
    other.set_autocommit(False)
    with other.cursor() as cursor:
        cursor.execute(f"UPDATE django_delayed_delayedjob SET name = 'locked' WHERE id = {rows[0].pk}")
    if vendor == "sqlite":
        pauses.then = other.rollback  # it locks all rows or none
    assert [row.name for row in DelayedJob.objects.claim(W1)] == ["locked" if vendor == "sqlite" else "free"]
    other.rollback()


@pytest.fixture
def lock_table(other):
    """Let no other connection insert; ends by `other.rollback()`."""
    if vendor == "mysql":
        with other.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE")
    other.set_autocommit(False)
    with other.cursor() as cursor:
        cursor.execute(
            {
                "postgresql": "LOCK TABLE django_delayed_delayedjob IN EXCLUSIVE MODE",
                "mysql": "SELECT id FROM django_delayed_delayedjob FOR UPDATE",
                "sqlite": "UPDATE django_delayed_delayedjob SET name = name",
            }[vendor]
        )
    yield
    other.rollback()


@pytest.mark.parametrize("number", [1, 3])
def test_an_enqueue_that_meets_a_lock_is_made_when_the_lock_is_gone(
    lock_table, other, impatient, pauses, monkeypatch, number
):
    # Each row is an INSERT.
    monkeypatch.setattr("django_delayed.databases.inserting.MOST_ROWS", 1)
    pauses.then = other.rollback
    rows = enqueue_all([Plain(n) for n in range(number)])
    assert list(DelayedJob.objects.order_by("pk")) == rows
    assert len(pauses) == 1


def test_an_enqueue_of_many_jobs_is_made_whichever_of_its_statements_meets_a_conflict(pauses, monkeypatch):
    monkeypatch.setattr("django_delayed.databases.inserting.MOST_ROWS", 2)
    for number in count(1):
        with conflict_at(number) as statements:
            rows = enqueue_all([Plain(n) for n in range(5)])
        assert list(DelayedJob.objects.order_by("pk")) == rows
        DelayedJob.objects.all().delete()
        if len(statements) < number:
            break
    assert len(pauses) == number - 1 > 0


def test_a_lock_that_an_enqueue_meets_in_a_callers_transaction_surfaces(
    lock_table, other, impatient, begins_as_a_reader, pauses, backend
):
    pauses.then = other.rollback
    with transaction.atomic():
        with pytest.raises(OperationalError) as caught:
            Plain.perform_later()
        transaction.set_rollback(True)
    assert backend.is_conflict(caught.value)
    assert not pauses


@pytest.fixture
def deadlock(add, other, in_thread):
    """Two rows; another transaction has locked the second, and asks for the first when it is told to."""
    if vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    first, second = add("first"), add("second")
    other.inc_thread_sharing()
    other.set_autocommit(False)
    with other.cursor() as cursor:  # it has written more than we will: MariaDB ends the lighter transaction
        for _ in range(3):
            cursor.execute(
                f"UPDATE django_delayed_delayedjob SET priority = priority + 1 WHERE id = {second.pk}"
            )
        cursor.execute(
            "UPDATE django_delayed_delayedjob SET result = %s WHERE id = %s", ["a" * 1000, second.pk]
        )
        if vendor == "postgresql":
            cursor.execute("SET LOCAL deadlock_timeout = '60s'")  # ours finds it first, and is ended

    def want_the_first():
        with other.cursor() as cursor:
            cursor.execute(f"UPDATE django_delayed_delayedjob SET name = 'theirs' WHERE id = {first.pk}")
        other.commit()

    def update_both():
        """Lock the first row and, once the other transaction waits for it, ask for the second."""
        attempts.append(1)
        with transaction.atomic():
            DelayedJob.objects.filter(pk=first.pk).update(name="ours")
            if len(attempts) == 1:
                futures.append(in_thread(want_the_first))
                wait_for_a_lock()
            DelayedJob.objects.filter(pk=second.pk).update(name="ours")

    attempts, futures = [], []
    yield update_both, attempts
    for future in futures:
        future.result(timeout=60)


def test_statements_that_ended_in_a_deadlock_are_repeated(deadlock, backend):
    update_both, attempts = deadlock
    backend.repeat_on_conflict(update_both)
    assert len(attempts) == 2
    assert set(DelayedJob.objects.values_list("name", flat=True)) == {"ours"}


def test_a_deadlock_surfaces_in_a_callers_transaction(deadlock, backend):
    update_both, attempts = deadlock
    with pytest.raises(DatabaseError) as caught, transaction.atomic():
        backend.repeat_on_conflict(update_both)
    assert backend.is_conflict(caught.value)
    assert len(attempts) == 1


def test_an_error_that_will_not_pass_is_not_tried_again(backend, pauses):
    def nonsense():
        with connection.cursor() as cursor:
            cursor.execute("SELECT nonsense FROM django_delayed_delayedjob")

    with pytest.raises((OperationalError, ProgrammingError)):
        backend.repeat_on_conflict(nonsense)
    assert not pauses


@pytest.fixture
def snapshot(begins_as_a_reader):
    """A transaction that sees the rows as they were when it began, and may not overwrite newer ones."""
    if vendor == "mysql" and connection.mysql_is_mariadb:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION innodb_snapshot_isolation = ON")

    @contextmanager
    def snapshot():
        with transaction.atomic():
            yield
            transaction.set_rollback(True)

    if vendor != "sqlite":
        with connection.cursor() as cursor:
            level = (
                "SESSION CHARACTERISTICS AS TRANSACTION" if vendor == "postgresql" else "SESSION TRANSACTION"
            )
            cursor.execute(f"SET {level} ISOLATION LEVEL REPEATABLE READ")
    yield snapshot
    connection.close()


def journal_mode():
    with connection.cursor() as cursor:
        return cursor.execute("PRAGMA journal_mode").fetchone()[0]


def test_a_row_that_is_newer_than_the_snapshot_is_a_conflict(add, other, snapshot, backend):
    if vendor == "mysql" and not connection.mysql_is_mariadb:
        pytest.skip("MySQL writes over it")
    if vendor == "sqlite" and journal_mode() != "wal":
        pytest.skip("a reader keeps the writers out")
    row = add()
    with snapshot():
        assert DelayedJob.objects.exists()
        with other.cursor() as cursor:
            cursor.execute("UPDATE django_delayed_delayedjob SET name = 'theirs'")
        with pytest.raises(OperationalError) as caught:
            DelayedJob.objects.filter(pk=row.pk).update(name="ours")
    codes = {"sqlite": sqlite3.SQLITE_BUSY, "postgresql": "40001", "mysql": 1020}
    assert backend.code_of(caught.value) == codes[vendor]
    assert backend.is_conflict(caught.value)


@pytest.mark.skipif(vendor != "mysql", reason="the others lock the table, or read its new columns")
def test_a_table_that_was_altered_since_the_snapshot_is_a_conflict(other, snapshot, backend):
    with other.cursor() as cursor:
        cursor.execute("CREATE TABLE altered (id integer)")
    try:
        with snapshot(), connection.cursor() as ours:
            ours.execute("SELECT count(*) FROM django_delayed_delayedjob")
            with other.cursor() as cursor:
                cursor.execute("ALTER TABLE altered ADD COLUMN number integer, ALGORITHM = COPY")
            with pytest.raises(DatabaseError) as caught:
                ours.execute("SELECT * FROM altered")
        assert backend.code_of(caught.value) == 1412
        assert backend.is_conflict(caught.value)
    finally:
        with other.cursor() as cursor:
            cursor.execute("DROP TABLE altered")
