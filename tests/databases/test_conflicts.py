"""Deadlocks and locks pass: ours are tried again; in a caller's transaction they are the caller's to see."""

import threading

import pytest
from django.db import DatabaseError, OperationalError, ProgrammingError, connection, transaction
from django_delayed.databases import insert
from django_delayed.models import DelayedJob

W1 = "1" * 32
vendor = connection.vendor

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def pauses(monkeypatch):
    """The pauses between tries, which are not slept through; a function put in `pauses.then` runs instead."""

    class Pauses(list):
        then = staticmethod(lambda: None)

        def sleep(self, seconds):
            self.append(seconds)
            self.then()

    pauses = Pauses()
    monkeypatch.setattr("django_delayed.databases.base.time.sleep", pauses.sleep)
    return pauses


@pytest.fixture
def impatient():
    """Waits for a lock end at once, or after the least time that the database knows."""
    with connection.cursor() as cursor:
        cursor.execute(
            {
                "postgresql": "SET lock_timeout = '50ms'",
                "mysql": "SET SESSION innodb_lock_wait_timeout = 1",
                "sqlite": "PRAGMA busy_timeout = 50",
            }[vendor]
        )
    yield
    connection.close()


@pytest.fixture
def locked(add, other):
    """A held row that another connection has locked; ends by `other.rollback()`."""
    add(due=-1)
    [row] = DelayedJob.objects.claim(W1)
    other.set_autocommit(False)
    with other.cursor() as cursor:
        cursor.execute(f"UPDATE django_delayed_delayedjob SET name = 'locked' WHERE id = {row.pk}")
    yield row
    other.rollback()


def test_a_move_that_meets_a_lock_is_made_when_the_lock_is_gone(locked, other, impatient, pauses):
    pauses.then = other.rollback
    assert DelayedJob.objects.finish(locked) is True
    assert len(pauses) == 1


def test_a_lock_surfaces_in_a_callers_transaction(locked, impatient, pauses, backend):
    with pytest.raises(OperationalError) as caught, transaction.atomic():
        DelayedJob.objects.finish(locked)
    assert backend.is_conflict(caught.value)
    assert not pauses


def test_a_lock_that_stays_surfaces_in_the_end_after_growing_pauses(
    locked, impatient, pauses, backend, monkeypatch
):
    monkeypatch.setattr("django_delayed.databases.base.TRIES", 3)
    with pytest.raises(OperationalError) as caught:
        DelayedJob.objects.finish(locked)
    assert backend.is_conflict(caught.value)
    assert len(pauses) == 2
    assert all(0 <= pause <= 5 for pause in pauses)


def test_a_claim_does_not_wait_for_a_locked_row(add, other, impatient, pauses):
    rows = [add("locked", due=-60), add("free", due=-30)]
    other.set_autocommit(False)
    with other.cursor() as cursor:
        cursor.execute(f"UPDATE django_delayed_delayedjob SET name = 'locked' WHERE id = {rows[0].pk}")
    if vendor == "sqlite":
        pauses.then = other.rollback  # it locks all rows or none
    assert [row.name for row in DelayedJob.objects.claim(W1)] == ["locked" if vendor == "sqlite" else "free"]
    other.rollback()


def test_an_insert_that_meets_a_lock_is_tried_again(other, impatient, pauses, backend):
    if vendor != "sqlite":
        pytest.skip("an insert meets no lock there")
    other.set_autocommit(False)
    with other.cursor() as cursor:
        cursor.execute("UPDATE django_delayed_delayedjob SET name = name")
    pauses.then = other.rollback
    row = DelayedJob(name="a job", payload="{}")
    backend.repeat_on_conflict(lambda: insert(connection, [row]))
    assert DelayedJob.objects.get() == row
    assert len(pauses) == 1


@pytest.fixture
def deadlock(add, other, in_thread):
    """Two rows, the second locked by a transaction that will want the first as soon as it is told to."""
    if vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    first, second = add("first"), add("second")
    other.inc_thread_sharing()
    other.set_autocommit(False)
    with other.cursor() as cursor:  # it has written more than we shall: MariaDB ends the lighter transaction
        for _ in range(3):
            cursor.execute(
                f"UPDATE django_delayed_delayedjob SET priority = priority + 1 WHERE id = {second.pk}"
            )
        cursor.execute(
            "UPDATE django_delayed_delayedjob SET result = %s WHERE id = %s", ["a" * 1000, second.pk]
        )
        if vendor == "postgresql":
            cursor.execute("SET LOCAL deadlock_timeout = '60s'")  # ours is looked for first, and is ended

    def want_the_first():
        with other.cursor() as cursor:
            cursor.execute(f"UPDATE django_delayed_delayedjob SET name = 'theirs' WHERE id = {first.pk}")
        other.commit()

    def update_both():
        """What we do: lock the first, and once the other side waits for it, want the second."""
        attempts.append(1)
        with transaction.atomic():
            DelayedJob.objects.filter(pk=first.pk).update(name="ours")
            if len(attempts) == 1:
                futures.append(in_thread(want_the_first))
                wait_until_it_waits(other)
            DelayedJob.objects.filter(pk=second.pk).update(name="ours")

    attempts, futures = [], []
    yield update_both, attempts
    for future in futures:
        future.result(timeout=60)


def wait_until_it_waits(other):
    asks = {
        "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND datname = current_database()",
        "mysql": "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
    }
    watcher = connection.copy()
    try:
        while True:
            with watcher.cursor() as cursor:
                cursor.execute(asks[vendor])
                if cursor.fetchone()[0]:
                    return
            threading.Event().wait(0.15)  # MariaDB refreshes that table ten times a second
    finally:
        watcher.close()


def test_what_ended_in_a_deadlock_is_done_again(deadlock, backend):
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
