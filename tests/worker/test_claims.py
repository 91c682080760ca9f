"""The claims of a worker: their connection, and claims that also settle a job."""

import time
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.utils import timezone
from django_delayed import enqueue_all
from django_delayed.models import DelayedJob
from django_delayed.signals import job_finished
from django_delayed.states import DelayedJobQuerySet
from django_delayed.worker.batch_size import BATCH_SECONDS
from django_delayed.worker.configuration import DONE, Configuration
from django_delayed.worker.shutdown import Shutdown
from django_delayed.worker.worker import Worker
from tests.blog.jobs import Plain
from tests.connections import wrapped

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def claims(wakeup, activity):
    return Worker("1" * 32, Configuration(), wakeup, Shutdown(), activity)._claims


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


def test_a_connection_in_debug_remembers_no_more_than_the_queries_of_the_last_claim(claims, monkeypatch):
    monkeypatch.setattr(connections[connection.alias], "force_debug_cursor", True)
    lengths = []
    for _ in range(3):
        claims.take(1)
        lengths.append(len(connection.queries_log))
    assert 0 < lengths[0] == lengths[1] == lengths[2]
    with transaction.atomic():
        claims.take(1)
        # The test may want to count those that came before.
        assert len(connection.queries_log) > lengths[0]


def test_a_claim_after_a_full_one_may_use_the_lanes_that_were_read_before(claims, monkeypatch):
    asked = []
    claim = DelayedJobQuerySet.claim

    def note(rows, worker, limit, filters, recent, removal):
        asked.append(recent)
        return claim(rows, worker, limit, filters, recent, removal)

    monkeypatch.setattr(DelayedJobQuerySet, "claim", note)
    enqueue_all([Plain(number) for number in range(5)])
    assert [len(claims.take(2)) for _ in range(4)] == [2, 2, 1, 0]
    assert asked == [0, BATCH_SECONDS, BATCH_SECONDS, 0]


# One statement settles a job and claims the next one.

together = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="a claim removes a row only on PostgreSQL"
)


@pytest.fixture
def one_by_one(wakeup, activity):
    """A worker with batching off, which ends when nothing is ready."""
    with Shutdown() as shutdown:
        configuration = Configuration(sleep_delay=timedelta(0), read_ahead=1)
        yield Worker("1" * 32, configuration, wakeup, shutdown, activity)


@pytest.fixture
def told(one_by_one):
    """The ids of the rows that were announced as finished, in order."""
    ids = []

    def tell(delayed_job, **_):
        ids.append(delayed_job.pk)

    job_finished.connect(tell)
    yield ids
    job_finished.disconnect(tell)


def removals(verbs):
    """A wrapper that notes which statements remove rows: a claim, or a DELETE."""

    def note(execute, sql, params, many, context):
        if "DELETE FROM" in sql:
            verbs.append("claim" if "picked" in sql else "DELETE")
        return execute(sql, params, many, context)

    return note


@together
def test_a_job_is_announced_before_the_job_that_was_claimed_with_its_removal_begins(
    one_by_one, told, in_job, diary
):
    rows = [in_job(lambda: diary.append([*told])) for _ in range(3)]
    ids = [row.pk for row in rows]
    assert one_by_one.run() == DONE
    assert diary == [[], ids[:1], ids[:2]]
    assert told == ids


@together
@pytest.mark.parametrize("is_taken_over", [True, False])
def test_a_claim_that_is_lost_is_refused_and_the_next_job_is_claimed(
    one_by_one, told, in_job, caplog, is_taken_over
):
    # Another worker has taken it over, or it was given back for later.
    later = timezone.now() + timedelta(hours=1)
    given_back = {"locked_by": "", "lock_token": 0, "locked_at": None, "run_at": later}
    way = {"lock_token": 7} if is_taken_over else given_back
    lost = in_job(lambda: DelayedJob.objects.filter(pk=lost.pk).update(**way))
    others = enqueue_all([Plain(), Plain()])
    verbs = []
    with wrapped(removals(verbs)):
        assert one_by_one.run() == DONE
    assert verbs[:2] == ["claim", "DELETE"]
    assert told == [row.pk for row in others]
    assert [row.pk for row in DelayedJob.objects.all()] == [lost.pk]
    refused = [record.job_id for record in caplog.records if "lost its claim" in record.message]
    assert refused == [lost.pk]


@together
@pytest.mark.parametrize("columns", [{"extras": 1}, {"keep_for": timedelta(hours=1)}], ids=str)
def test_a_row_that_was_changed_during_its_job_is_still_settled(one_by_one, told, in_job, caplog, columns):
    first = in_job(lambda: DelayedJob.objects.filter(pk=first.pk).update(**columns))
    rows = [first, *enqueue_all([Plain(), Plain()])]
    assert one_by_one.run() == DONE
    assert not DelayedJob.objects.exists()
    assert told == [row.pk for row in rows]
    assert "lost its claim" not in caplog.text


@together
@pytest.mark.parametrize("is_written", [True, False])
def test_after_an_error_a_job_is_settled_by_itself_and_what_was_claimed_is_released(
    one_by_one, told, diary, caplog, monkeypatch, is_written
):
    monkeypatch.setattr("django_delayed.worker.availability.backoff", lambda: iter([0.001] * 9))
    cut = []

    def lose(execute, sql, params, many, context):
        if "picked" not in sql or "DELETE FROM" not in sql or cut:
            return execute(sql, params, many, context)
        cut.append(execute(sql, params, many, context) if is_written else sql)
        raise OperationalError("the connection was cut")

    rows = enqueue_all([Plain(number) for number in range(4)])
    verbs = []
    with wrapped(lose), wrapped(removals(verbs)):
        assert one_by_one.run() == DONE
    assert len(cut) == 1
    # `removals` has not noted a statement that was not sent.
    assert verbs[is_written] == "DELETE"
    assert told == [row.pk for row in rows]
    # Each was performed once.
    assert len(diary) == len(rows)
    assert not DelayedJob.objects.exists()
    assert "lost its claim" not in caplog.text
    assert one_by_one.slot.tally.processed == len(rows)


@together
def test_after_an_error_behind_the_one_statement_the_claimed_job_is_released(
    one_by_one, told, in_job, diary, monkeypatch
):
    monkeypatch.setattr("django_delayed.worker.availability.backoff", lambda: iter([0.001] * 9))
    cut, released = [], []
    release = DelayedJobQuerySet.release

    def lose(execute, sql, params, many, context):
        if sql.startswith("DELETE FROM") and not cut:
            cut.append(sql)
            raise OperationalError("the connection was cut")
        return execute(sql, params, many, context)

    def note(rows, held):
        held = list(held)
        released.extend(row.pk for row in held)
        return release(rows, held)

    monkeypatch.setattr(DelayedJobQuerySet, "release", note)
    # Because of this change, the one statement does not remove it.
    first = in_job(lambda: DelayedJob.objects.filter(pk=first.pk).update(extras=1))
    rows = [first, *enqueue_all([Plain(1), Plain(2)])]
    with wrapped(lose):
        assert one_by_one.run() == DONE
    assert (len(cut), released) == (1, [rows[1].pk])
    assert told == [row.pk for row in rows]
    assert len(diary) == 2


@together
def test_the_one_statement_is_repeated_after_a_deadlock(one_by_one, told, monkeypatch):
    met = []

    def meet(execute, sql, params, many, context):
        if "picked" in sql and "DELETE FROM" in sql and not met:
            met.append(sql)
            with connection.cursor() as cursor:
                cursor.execute("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$")
        return execute(sql, params, many, context)

    rows = enqueue_all([Plain(number) for number in range(3)])
    verbs = []
    with wrapped(removals(verbs)), wrapped(meet):
        assert one_by_one.run() == DONE
    assert len(met) == 1
    assert verbs[:2] == ["claim", "claim"]
    assert told == [row.pk for row in rows]


@together
def test_a_stop_while_a_job_is_announced_lets_the_next_one_wait(one_by_one, told):
    rows = enqueue_all([Plain(number) for number in range(3)])

    def stop(**_):
        one_by_one.shutdown.request()

    job_finished.connect(stop)
    try:
        assert one_by_one.run() == DONE
    finally:
        job_finished.disconnect(stop)
    assert told == [rows[0].pk]
    assert [row.pk for row in DelayedJob.objects.ready().order_by("pk")] == [row.pk for row in rows[1:]]
    assert not DelayedJob.objects.running().exists()


def test_performed_jobs_are_settled_before_a_worker_is_quiet(one_by_one, told, in_job, monkeypatch):
    def resume(id, activity, *_):
        seen.append((*told, DelayedJob.objects.running().count()))
        activity.be_quiet(False)

    monkeypatch.setattr("django_delayed.worker.worker.wait_until_resumed", resume)
    seen = []
    row = in_job(lambda: one_by_one.activity.be_quiet(True))
    Plain.perform_later()
    assert one_by_one.run() == DONE
    assert seen == [(row.pk, 0)]
    assert len(told) == 2


def test_performed_jobs_are_settled_before_a_worker_ends(told, one_by_one, in_job):
    first = in_job(one_by_one.shutdown.request)
    Plain.perform_later()
    assert one_by_one.run() == DONE
    assert told == [first.pk]
    assert not DelayedJob.objects.running().exists()


@together
def test_a_stop_that_is_requested_before_the_claim_has_the_job_settled_by_itself(one_by_one, told):
    rows = enqueue_all([Plain(1), Plain(2)])
    [row] = one_by_one._claims.take(1)
    one_by_one._perform_batch([row])
    one_by_one.shutdown.request()
    verbs = []
    with wrapped(removals(verbs)):
        assert one_by_one._claims.take(1) == []
    assert verbs == ["DELETE"]
    assert told == [rows[0].pk]
    assert DelayedJob.objects.ready().get() == rows[1]
