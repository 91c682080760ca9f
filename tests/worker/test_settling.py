"""Performed jobs are settled by their worker: most of them together, the others one by one."""

from datetime import timedelta

import pytest
from django.db import DataError, IntegrityError, OperationalError, connection
from django_delayed import enqueue_all
from django_delayed.execution.outcomes import Finished
from django_delayed.execution.settle import settle_together
from django_delayed.models import DelayedJob
from django_delayed.serialization.results import Kept
from django_delayed.signals import job_failed, job_finished, job_started
from django_delayed.worker.configuration import DONE
from django_delayed.worker.ledger import RESULTS_SIZE
from tests.blog import tasks
from tests.blog.jobs import Plain
from tests.connections import wrapped

HOUR = timedelta(hours=1)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Let a batch take any time: on a busy machine, ten jobs may take longer than a batch usually may."""
    for module in ("worker", "batch_size"):
        monkeypatch.setattr(f"django_delayed.worker.{module}.BATCH_SECONDS", 3600)


@pytest.fixture
def knows(worker):
    """Let the worker know that jobs of these names are short."""
    for name in ("Plain", "call"):
        worker._short_jobs.learn(name, 0)


@pytest.fixture
def heard(diary):
    """Write each announcement in the diary, with its row and the number of running rows at that moment."""

    def hear(signal, delayed_job, **_):
        kind = {job_started: "started", job_finished: "finished", job_failed: "failed"}[signal]
        diary.append((kind, delayed_job.pk, DelayedJob.objects.running().count()))

    signals = job_started, job_finished, job_failed
    for signal in signals:
        signal.connect(hear)
    yield lambda kind: [entry[1] for entry in diary if entry[0] == kind]
    for signal in signals:
        signal.disconnect(hear)


@pytest.fixture
def written():
    """The verbs of the statements that move rows, in order."""
    verbs = []

    def note(execute, sql, params, many, context):
        if sql.startswith(("DELETE", "UPDATE", "INSERT")) and "attempts = attempts + 1" not in sql:
            verbs.append(sql.split()[0])
        return execute(sql, params, many, context)

    with wrapped(note):
        yield verbs


def test_the_rows_of_a_batch_are_removed_by_one_statement(worker, knows, written, diary):
    enqueue_all([Plain(number) for number in range(10)])
    written.clear()
    assert worker.run() == DONE
    assert written == ["DELETE"]
    assert not DelayedJob.objects.exists()
    assert len(diary) == 10


def test_a_worker_learns_from_the_first_job_that_the_others_are_short(worker, written, diary):
    enqueue_all([Plain(number) for number in range(10)])
    written.clear()
    assert worker.run() == DONE
    assert written == ["DELETE"]
    assert len(diary) == 10


def test_a_job_is_announced_when_its_row_is_gone(worker, knows, heard, diary):
    rows = enqueue_all([Plain(number) for number in range(3)])
    assert worker.run() == DONE
    ids = [row.pk for row in rows]
    assert diary[0::2][:3] == [("started", pk, 3) for pk in ids]
    assert [entry[0] for entry in diary[1:6:2]] == ["plain"] * 3
    assert diary[6:] == [("finished", pk, 0) for pk in ids]


def test_earlier_jobs_are_settled_before_a_failure_is_written(worker, knows, heard, in_job, diary):
    def fail():
        raise LookupError

    first, second, third = [in_job(function, max_attempts=1) for function in (int, fail, int)]
    assert worker.run() == DONE
    assert [entry for entry in diary if entry[0] != "started"] == [
        ("finished", first.pk, 2),
        ("failed", second.pk, 1),
        ("finished", third.pk, 0),
    ]


@pytest.mark.parametrize("raises", [False, True])
def test_a_job_that_lost_its_claim_is_neither_announced_nor_counted(worker, heard, in_job, diary, raises):
    def lose_it():
        DelayedJob.objects.update(locked_by="another worker", lock_token=1)
        if raises:
            raise LookupError

    row = in_job(lose_it, max_attempts=1)
    # So that it is settled by itself.
    DelayedJob.objects.filter(pk=row.pk).update(extras=1)
    assert worker.run() == DONE
    assert [entry[0] for entry in diary] == ["started"]
    assert worker.activity.tally.processed == 0
    assert DelayedJob.objects.running().get().locked_by == "another worker"


@pytest.mark.parametrize(
    "columns",
    [{"last_error": "once", "attempts": 1}, {"extras": 1}, {"extras": 1, "keep_for": HOUR}],
    ids=str,
)
def test_a_job_that_leaves_something_is_settled_by_itself(worker, knows, written, diary, columns):
    rows = enqueue_all([Plain(number) for number in range(3)])
    DelayedJob.objects.filter(pk=rows[1].pk).update(**columns)
    written.clear()
    assert worker.run() == DONE
    assert written == ["DELETE", *written[1:-1], "DELETE"]
    assert len(written) > 2
    assert not DelayedJob.objects.exclude(finished_at=None).exclude(pk=rows[1].pk).exists()
    assert DelayedJob.objects.count() == ("keep_for" in columns)


def test_rows_that_are_kept_are_settled_together_too(worker, knows, written, heard):
    rows = enqueue_all([Plain(number) for number in range(5)])
    kept = {row.pk for row in rows[1:4]}
    DelayedJob.objects.filter(pk__in=kept).update(keep_for=HOUR)
    DelayedJob.objects.filter(pk=rows[3].pk).update(last_error="once")
    written.clear()
    assert worker.run() == DONE
    assert sorted(written) == ["DELETE", "UPDATE"]
    finished = DelayedJob.objects.finished()
    assert {row.pk for row in finished} == kept
    assert {(row.expires_at - row.finished_at, row.locked_by, row.locked_at) for row in finished} == {
        (HOUR, "", None)
    }
    assert all(row.started_at <= row.finished_at for row in finished)
    assert heard("finished") == [row.pk for row in rows]


ODD = "'; DROP TABLE ü€\\ %s"


@pytest.mark.parametrize("values", [[*range(4), 10**30, ODD], [ODD, ODD]], ids=["different", "alike"])
def test_results_of_tasks_are_written_together_each_to_its_row(worker, knows, written, values):
    worker._short_jobs.learn("add", 0)
    results = [tasks.add.enqueue(value, second=type(value)()) for value in values]
    enqueue_all([Plain(), Plain()])
    written.clear()
    assert worker.run() == DONE
    assert sorted(written) == ["DELETE", "UPDATE"]
    for result, value in zip(results, values, strict=True):
        result.refresh()
        assert (result.return_value, result.worker_ids, result.is_finished) == (value, [worker.id], True)


@pytest.mark.parametrize("size", [1, RESULTS_SIZE // 3, RESULTS_SIZE])
def test_results_that_do_not_fit_together_are_written_one_after_the_other(worker, knows, written, size):
    worker._short_jobs.learn("add", 0)
    results = [tasks.add.enqueue(str(number), second="x" * size) for number in range(4)]
    written.clear()
    assert worker.run() == DONE
    assert written == ["UPDATE"] * {1: 1, RESULTS_SIZE // 3: 2, RESULTS_SIZE: 4}[size]
    for number, result in enumerate(results):
        result.refresh()
        assert result.return_value == str(number) + "x" * size


def test_the_ledger_has_the_results_until_they_are_settled(worker, knows, in_job):
    worker._short_jobs.learn("add", 0)
    seen = []
    results = [tasks.add.enqueue(number, second=1) for number in range(2)]
    in_job(lambda: seen.extend(worker.activity.unsettled()))
    assert worker.run() == DONE
    [(_, ids, texts)] = seen
    assert [Kept.load(texts[id]) for id in ids] == [Kept(1, worker.id), Kept(2, worker.id)]
    assert [str(id) for id in ids] == [result.id for result in results]


@pytest.mark.parametrize("loses_answer", [True, False])
def test_a_lost_claim_among_rows_that_are_kept_does_not_affect_the_others(
    worker, knows, heard, in_job, caplog, monkeypatch, loses_answer
):
    monkeypatch.setattr("django_delayed.worker.availability.backoff", lambda: iter([0.001] * 9))
    cut = []

    def cut_the_answer(execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        if loses_answer and "finished_at" in sql and sql.startswith("UPDATE") and not cut:
            cut.append(sql)
            raise OperationalError("the connection was cut")
        return result

    rows = enqueue_all([Plain(number) for number in range(3)])
    lose = in_job(lambda: DelayedJob.objects.filter(pk=rows[1].pk).update(lock_token=7))
    DelayedJob.objects.update(keep_for=HOUR)
    with wrapped(cut_the_answer):
        assert worker.run() == DONE
    assert len(cut) == loses_answer
    assert [row.pk for row in DelayedJob.objects.running()] == [rows[1].pk]
    assert heard("finished") == [rows[0].pk, rows[2].pk, lose.pk]
    lost = [record.job_id for record in caplog.records if "lost its claim" in record.message]
    assert lost == [rows[1].pk]


def test_earlier_jobs_are_settled_before_a_job_that_may_be_long(worker, knows, in_job, heard, diary):
    finished = []
    Plain.perform_later(1)
    in_job(lambda: finished.extend(heard("finished")))
    worker._short_jobs.learn("call", 3600)
    assert worker.run() == DONE
    assert len(finished) == 1


def test_a_lost_claim_does_not_affect_the_others(worker, knows, heard, in_job, caplog):
    def lose():
        held = DelayedJob.objects.running()
        held.filter(pk=rows[1].pk).update(lock_token=7)
        held.filter(pk=rows[2].pk)._raw_delete("default")

    rows = [*enqueue_all([Plain(number) for number in range(3)]), in_job(lose)]
    assert worker.run() == DONE
    assert [row.pk for row in DelayedJob.objects.all()] == [rows[1].pk]
    lost = [record.job_id for record in caplog.records if "lost its claim" in record.message]
    # MySQL and MariaDB do not tell who has removed a row that is gone.
    gone_is_lost = connection.vendor != "mysql"
    assert lost == [rows[1].pk, rows[2].pk][: 1 + gone_is_lost]
    assert heard("finished") == [row.pk for row in rows if row.pk not in lost]


def test_a_batch_whose_answer_is_lost_is_settled(worker, knows, heard, monkeypatch, caplog):
    monkeypatch.setattr("django_delayed.worker.availability.backoff", lambda: iter([0.001] * 9))
    rows = enqueue_all([Plain(number) for number in range(5)])
    cut = []

    def cut_the_answer(execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        if sql.startswith("DELETE") and not cut:
            # SQLite commits only when what it returns has been read.
            cut.append(context["cursor"].fetchall())
            raise OperationalError("the connection was cut")
        return result

    with wrapped(cut_the_answer):
        assert worker.run() == DONE
    assert len(cut) == 1
    assert heard("finished") == [row.pk for row in rows]
    assert "lost its claim" not in caplog.text
    assert not DelayedJob.objects.exists()


def test_a_job_that_its_supervisor_has_settled_is_announced_and_not_lost(
    worker, knows, heard, in_job, caplog
):
    def settle_from_outside():
        [(token, ids, _)] = worker.activity.unsettled()
        worker.slot.ledger.settles_too(token)
        assert DelayedJob.objects.finish_together(worker.id, token, ids) == {row.pk for row in rows[:3]}

    rows = [*enqueue_all([Plain(number) for number in range(3)]), in_job(settle_from_outside)]
    assert worker.run() == DONE
    assert heard("finished") == [row.pk for row in rows]
    assert "lost its claim" not in caplog.text
    assert worker.slot.tally.processed == 4


def test_a_row_that_was_changed_during_the_batch_is_removed_with_it(worker, knows, heard, in_job, caplog):
    rows = [
        *enqueue_all([Plain(number) for number in range(2)]),
        in_job(lambda: DelayedJob.objects.filter(pk=rows[0].pk).update(extras=1)),
    ]
    assert worker.run() == DONE
    assert not DelayedJob.objects.exists()
    assert heard("finished") == [row.pk for row in rows]
    assert "lost its claim" not in caplog.text


def test_a_full_ledger_is_settled_in_the_middle_of_a_batch(worker, knows, written, monkeypatch, diary):
    monkeypatch.setattr("django_delayed.worker.ledger.MOST", 4)
    enqueue_all([Plain(number) for number in range(10)])
    written.clear()
    assert worker.run() == DONE
    assert written == ["DELETE"] * 3
    assert len(diary) == 10


def test_the_ledger_has_the_performed_jobs_until_they_are_settled(worker, knows, in_job):
    seen = []

    def look():
        seen.append([ledger.ids for ledger in worker.activity.unsettled()])

    rows = [in_job(look) for _ in range(3)]
    assert worker.run() == DONE
    first, second, _ = [row.pk for row in rows]
    assert seen == [[()], [(first,)], [(first, second)]]
    assert [tuple(ledger.ids) for ledger in worker.activity.unsettled()] == [()]


def test_jobs_that_cannot_be_settled_before_it_has_to_end_stay_in_the_ledger(
    worker, monkeypatch, in_job, caplog
):
    settled = []

    def fail(performed, may_be_done):
        worker.shutdown.requested = worker.shutdown.immediate = True
        raise OperationalError("away")

    monkeypatch.setattr("django_delayed.worker.settling.settle_together", fail)
    worker.settling._on_settled = settled.append
    in_job(lambda: None)
    assert worker.run() == DONE
    assert "its outcome is to be written when this worker ends" in caplog.text
    assert settled == []
    [row] = DelayedJob.objects.running()
    assert worker.activity.unsettled() == [(row.lock_token, (row.pk,), {})]


@pytest.mark.parametrize("error", [DataError, IntegrityError])
def test_an_error_that_says_nothing_about_the_database_is_raised(worker, monkeypatch, in_job, caplog, error):
    def fail(performed, may_be_done):
        raise error("broken")

    monkeypatch.setattr("django_delayed.worker.settling.settle_together", fail)
    in_job(lambda: None)
    with pytest.raises(error):
        worker.run()
    assert "is unavailable" not in caplog.text


@pytest.mark.parametrize("is_refused", [False, True], ids=["unavailable", "refused"])
def test_an_outcome_is_written_again_until_it_is_accepted(worker, monkeypatch, refusal, is_refused):
    tried, settled, error = [], [], refusal if is_refused else OperationalError("away")

    def fail_twice(performed, may_be_done):
        tried.append(performed)
        if len(tried) < 3:
            worker.shutdown.request()
            raise error
        return settle_together(performed, may_be_done)

    monkeypatch.setattr("django_delayed.worker.settling.settle_together", fail_twice)
    monkeypatch.setattr("django_delayed.worker.availability.backoff", lambda: iter([0.001] * 9))
    worker.settling._on_settled = settled.append
    enqueue_all([Plain(1)])
    worker.run()
    assert len(tried) == 3
    assert not DelayedJob.objects.exists()
    assert [type(outcome) for outcome in settled] == [Finished]
