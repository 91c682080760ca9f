"""Many unique jobs at once, each way to enqueue, and what the caller and the hooks learn of duplicates."""

import logging
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from django_delayed import Unique, enqueue_all, enqueue_many, every
from django_delayed.databases import base
from django_delayed.features.recurring.definitions import definitions
from django_delayed.features.recurring.runs import make_run
from django_delayed.features.recurring.ticker import Ticker
from django_delayed.models import DelayedJob, FailedAttempt, Schedule, ScheduleRun, UniqueKey
from django_delayed.serialization.errors import describe
from django_delayed.signals import job_enqueued
from tests.blog.jobs import Hooked, Indexing, Noting, Plain
from tests.blog.work import claim, load, work_off
from tests.connections import wrapped

HOUR = timedelta(hours=1)
REPLACE = Unique(on_duplicate="replace")
ERROR = describe(ValueError("it broke"))

pytestmark = pytest.mark.django_db(transaction=True)


def given(rows):
    return [row and load(row).args for row in rows]


def test_the_caller_gets_none_for_each_duplicate_of_many_jobs(write, ids):
    first = write(1)
    rows = enqueue_all([Plain(n) for n in (0, 1, 2, 0, 3)], unique=True)
    assert given(rows) == [(0,), None, (2,), None, (3,)]
    assert ids() == [first.pk, *[row.pk for row in rows if row]]


def test_the_last_of_jobs_that_replace_each_other_is_enqueued(ids):
    jobs = [Plain(n) for n in range(4)]
    rows = enqueue_all(jobs, unique=Unique("one", on_duplicate="replace"))
    assert given(rows) == [None, None, None, (3,)]
    assert ids() == [rows[-1].pk]


def test_plain_and_unique_jobs_are_enqueued_together(monkeypatch):
    monkeypatch.setattr(Indexing, "unique", Unique("index"))
    rows = enqueue_all([Plain(1), Indexing(1), Plain(1), Indexing(2), Plain(1)])
    assert given(rows) == [(1,), (1,), (1,), None, (1,)]


def test_enqueue_many_counts_the_jobs_that_are_enqueued(write):
    write(1)
    assert enqueue_many((Plain(n % 10) for n in range(35)), chunk=7, unique=True) == 9
    assert DelayedJob.objects.count() == 10


def test_more_jobs_than_one_statement_takes_are_enqueued_and_found_to_be_duplicates(write):
    write(1234)
    jobs = [Plain(n) for n in range(2100)]
    assert sum(row is None for row in enqueue_all(jobs, unique=True)) == 1
    assert enqueue_all(jobs, unique=True) == [None] * 2100
    rows = enqueue_all(jobs[:1500], unique=REPLACE)
    assert None not in rows
    assert DelayedJob.objects.count() == UniqueKey.objects.count() == 2100


def test_a_debounced_job_waits_from_its_last_enqueue(write, ids):
    for seconds in (60, 120, 600):
        row = write(1, unique=REPLACE, wait=seconds)
    assert ids() == [row.pk]
    found = DelayedJob.objects.get()
    assert found.run_at - found.created_at == timedelta(seconds=600)


def test_the_failed_attempts_of_a_replaced_job_are_removed(write):
    unique = Unique(until="finish", on_duplicate="replace")
    write(unique=unique)
    DelayedJob.objects.reschedule(claim(), ERROR, HOUR)
    assert FailedAttempt.objects.count() == 1
    row = write(unique=unique)
    assert [found.pk for found in DelayedJob.objects.all()] == [row.pk]
    assert not FailedAttempt.objects.exists()


def test_at_most_one_equal_job_waits_while_a_job_runs(write, ids):
    unique = Unique(until="finish", on_duplicate="replace")
    write(unique=unique)
    held = claim()
    rows = [write(unique=unique) for _ in range(3)]
    assert ids() == [held.pk, rows[-1].pk]
    assert write(unique=Unique(until="finish")) is None
    assert DelayedJob.objects.finish(held)
    work_off()
    assert ids() == []


def test_a_retrying_job_stays_when_another_has_taken_its_key(write, ids):
    write()
    held = claim()
    second = write()
    assert second is not None
    assert DelayedJob.objects.reschedule(held, ERROR, HOUR)
    assert write() is None
    third = write(unique=REPLACE)
    assert ids() == [held.pk, third.pk]


@pytest.mark.parametrize("end", ["release", "snooze", "suspect"])
def test_a_job_that_waits_again_without_a_counted_attempt_holds_its_key_again(write, end):
    write()
    held = claim()
    moves = {
        "release": lambda: DelayedJob.objects.release([held]),
        "snooze": lambda: DelayedJob.objects.snooze(held, HOUR),
        "suspect": lambda: DelayedJob.objects.suspect(held),
    }
    assert moves[end]()
    assert write() is None


def test_the_hooks_around_an_enqueue_learn_that_it_is_a_duplicate(monkeypatch, caplog):
    notes, sent = [], []
    monkeypatch.setattr(Noting, "notes", notes)
    job_enqueued.connect(lambda delayed_job, **_: sent.append(delayed_job), weak=False, dispatch_uid="one")
    caplog.set_level(logging.DEBUG, "django_delayed")
    first = Noting.set(unique=True).perform_later(1)
    assert Noting.set(unique=True).perform_later(1) is None
    job_enqueued.disconnect(dispatch_uid="one")
    sentence = f"Noting is not enqueued: an equal job #{first.pk} holds its key."
    assert notes == ["enqueued", "after", (sentence, first.pk)]
    assert sent == [first]
    assert sentence in caplog.text


def test_a_tick_of_a_schedule_makes_no_job_while_an_equal_one_waits(settings):
    entry = {"job": "tests.blog.jobs:Plain", "schedule": every(60), "args": [1], "unique": True}
    settings.DJANGO_DELAYED = {"RECURRING": {"often": entry}}
    Ticker(definitions()).run()
    schedule, tick = Schedule.objects.get(), timezone.now() + HOUR
    first = make_run(schedule, definitions()["often"], tick)
    assert make_run(schedule, definitions()["often"], tick + HOUR) is None
    made = ScheduleRun.objects.filter(tick__gte=tick.timestamp() - 1).order_by("pk")
    assert list(made.values_list("delayed_job_id", flat=True)) == [first.pk, None]


def test_a_vetoed_job_holds_no_key(write):
    assert Hooked.set(unique=True).perform_later("", True) is None
    assert not UniqueKey.objects.exists()


def test_a_job_of_a_rolled_back_transaction_holds_no_key(write, ids):
    with transaction.atomic():
        row = write(1)
        assert write(1) is None
        assert ids() == [row.pk]
        transaction.set_rollback(True)
    assert not UniqueKey.objects.exists()
    assert write(1) is not None


def test_a_replaced_job_is_restored_when_the_transaction_is_rolled_back(write, ids):
    first = write(1)
    with transaction.atomic():
        write(1, unique=REPLACE)
        transaction.set_rollback(True)
    assert ids() == [first.pk]
    assert write(1) is None


def test_a_job_of_a_rolled_back_savepoint_holds_no_key(write, ids):
    with transaction.atomic():
        with transaction.atomic():
            write(1)
            transaction.set_rollback(True)
        row = write(1)
    assert ids() == [row.pk]


def test_a_job_that_waits_for_the_commit_has_no_id_if_it_is_a_duplicate_then(settings, write, ids):
    settings.DJANGO_DELAYED = {"ENQUEUE": "on_commit"}
    with transaction.atomic():
        first, second = write(1), write(1)
        assert ids() == []
    assert ids() == [first.pk]
    assert second.pk is None
    assert write(1) is None


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
def test_a_job_that_is_enqueued_immediately_keeps_its_key_when_the_transaction_is_rolled_back(
    settings, write, ids
):
    settings.DJANGO_DELAYED = {"ENQUEUE": "immediate"}
    with transaction.atomic():
        row = write(1)
        assert write(1) is None
        transaction.set_rollback(True)
    assert ids() == [row.pk]
    assert write(1) is None


def test_a_job_that_is_performed_inline_is_not_a_duplicate(settings, write, diary):
    settings.DJANGO_DELAYED = {"DELAY_JOBS": False}
    assert None not in [write(1), write(1)]
    assert diary == [("plain", (1,), {})] * 2
    assert not UniqueKey.objects.exists()


def test_an_enqueue_with_a_conflict_at_any_statement_is_repeated(write, ids, monkeypatch):
    monkeypatch.setattr(base.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(base.Database, "is_conflict", lambda self, error: "conflict" in str(error))
    unique = Unique("one", until="finish", on_duplicate="replace")
    last, number, total = write(0, unique=unique), 0, None
    while total is None or number < total:
        number += 1
        met, count = [], 0

        def meet(execute, sql, params, many, context, number=number, met=met):
            nonlocal count
            if not sql.startswith(("NOTIFY", "SAVEPOINT", "RELEASE", "ROLLBACK", "BEGIN")):
                count += 1
                if count == number and not met:
                    met.append(sql)
                    raise OperationalError("a conflict")
            return execute(sql, params, many, context)

        with wrapped(meet):
            row = write(number, unique=unique, wait=60)
        total = total or count - number
        assert met
        assert ids() == [row.pk]
        assert DelayedJob.objects.get().run_at > last.run_at or number == 1
    assert number >= 6


def test_a_unique_job_takes_a_fixed_number_of_statements_and_a_plain_one_takes_one(write):
    connection.ensure_connection()

    def count(function):
        found = []

        def note(execute, sql, *how):
            if not sql.startswith(("BEGIN", "SAVEPOINT", "RELEASE", "NOTIFY", "COMMIT")):
                found.append("INSERT" if "INSERT INTO" in sql else sql.split()[0])
            return execute(sql, *how)

        with wrapped(note):
            function()
        return found

    assert count(lambda: write(1, unique=None)) == ["INSERT"]
    # The key is locked and read, the row and its id are written.
    assert count(lambda: write(1)) == ["INSERT", "SELECT", "INSERT", "INSERT"]
    # The key has a holder, which is locked too.
    assert count(lambda: write(1)) == ["INSERT", "SELECT", "SELECT"]
    jobs = [Plain(n) for n in range(100, 200)]
    assert count(lambda: enqueue_all(jobs, unique=True)) == ["INSERT", "SELECT", "INSERT", "INSERT"]
