"""Settling makes the moves that belong to outcomes, and then sends the signals."""

import gc
import traceback
import weakref
from datetime import timedelta

import pytest
from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    connection,
    connections,
    transaction,
)
from django_delayed import Job, enqueue_all
from django_delayed.databases import database
from django_delayed.execution.deaths import decide_after_crash
from django_delayed.execution.outcomes import Discarded, Failed, Finished, Released, Rescheduled, decide
from django_delayed.execution.session import Session
from django_delayed.execution.settle import (
    _with_text,
    announce,
    is_plain,
    settle,
    settle_together,
    write_outcomes,
)
from django_delayed.jobs.results import RESULT, result_settled
from django_delayed.models import DelayedJob, FailedAttempt
from django_delayed.serialization.errors import describe
from django_delayed.signals import job_discarded, job_errored, job_failed, job_finished, job_started
from django_delayed.states import CURSORS, DelayedJobQuerySet
from tests.blog import jobs
from tests.blog.jobs import Plain
from tests.blog.work import WORKER, claim, perform, perform_next
from tests.connections import end_connection, needs_server

HOUR = timedelta(hours=1)

transactional = pytest.mark.django_db(transaction=True)


@pytest.mark.django_db
def test_a_job_that_has_failed_may_be_removed(settings, heard):
    settings.DJANGO_DELAYED = {"DESTROY_FAILED_JOBS": True}
    jobs.HookedOnce.perform_later("perform")
    perform_next()
    assert not DelayedJob.objects.exists()
    assert [one for one, *_ in heard] == [job_started, job_errored, job_failed]


@pytest.mark.django_db
def test_a_finished_job_may_be_kept(settings):
    settings.DJANGO_DELAYED = {"KEEP_FINISHED_FOR": timedelta(days=1)}
    Plain.perform_later()
    perform_next()
    assert DelayedJob.objects.get().state == "finished"


@pytest.mark.django_db
def test_a_row_that_was_changed_since_its_claim_is_removed_with_the_others(caplog):
    enqueue_all([Plain(number) for number in range(3)])
    rows = DelayedJob.objects.claim(WORKER, 3)
    DelayedJob.objects.filter(pk=rows[1].pk).update(extras=CURSORS)
    assert settle_together([(row, perform(row)) for row in rows], lambda: False) == []
    assert not DelayedJob.objects.exists()
    assert "lost its claim" not in caplog.text


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["finish", "retry", "fail", "discard", "release"])
def test_the_outcome_of_a_lost_claim_changes_nothing(heard, caplog, kind):
    Plain.perform_later()
    row = claim()
    job = Plain()
    exception = ValueError("x")
    error = describe(exception)
    outcome = {
        "finish": Finished(job, 0.1),
        "retry": Rescheduled(job, error, timedelta(seconds=6), exception=exception),
        "fail": Failed(job, error, exception=exception),
        "discard": Discarded(job, error, exception=exception),
        "release": Released(),
    }[kind]
    DelayedJob.objects.filter(pk=row.pk).update(lock_token=row.lock_token + 1)
    before = DelayedJob.objects.values().get()
    assert settle([(row, outcome)]) == [row]
    assert DelayedJob.objects.values().get() == before
    assert not FailedAttempt.objects.exists()
    assert heard == []
    assert "lost its claim; its outcome is dropped" in caplog.text


@transactional
@needs_server
def test_settling_raises_while_the_database_is_away_and_succeeds_after():
    Plain.perform_later()
    row = claim()
    end_connection(connection)
    with pytest.raises((OperationalError, InterfaceError)):
        settle([(row, Finished(Plain(), 0.1))])
    connection.close()
    assert settle([(row, Finished(Plain(), 0.1))]) == []
    assert not DelayedJob.objects.exists()


@transactional
@needs_server
def test_after_a_lost_connection_a_failure_is_recorded_whole():
    Plain.perform_later()
    row = claim()
    outcome = Failed(Plain(), describe(ValueError("ü")), exception=ValueError("ü"))
    end_connection(connection)
    try:
        assert settle([(row, outcome)]) == []
    except (OperationalError, InterfaceError):
        connection.close()
        assert settle([(row, outcome)]) == []
    assert DelayedJob.objects.failed().get().error_message == "ü"


@pytest.mark.django_db
def test_an_error_in_a_text_that_the_database_refuses_is_recorded_in_ascii(monkeypatch):
    refused = []

    def refuse(text):
        if not text.text.isascii():
            refused.append(text)
            with connection.cursor() as cursor, transaction.atomic():
                cursor.execute("SELECT nonsense")
        return text.text

    error = describe(ValueError("\U0001f600"))
    assert "\\U0001f600" in _with_text(error, refuse)
    assert refused == [error, error]


@transactional
@pytest.mark.parametrize("state", ["closed", "unusable"])
def test_a_lost_connection_is_not_taken_for_an_error_in_the_text(monkeypatch, state):
    connection.ensure_connection()
    tried = []

    def lose(text):
        tried.append(text)
        if state == "closed":
            connection.close()
        raise DatabaseError("the connection was lost")

    if state == "unusable":
        monkeypatch.setattr(connection, "is_usable", lambda: False)
    with pytest.raises(DatabaseError, match="the connection was lost"):
        _with_text(describe(ValueError("x")), lose)
    assert len(tried) == 1


@transactional
@pytest.mark.skipif(connection.vendor != "mysql", reason="has one charset for all columns")
def test_an_error_that_the_charset_of_a_column_refuses_is_recorded(in_job):
    tables = [DelayedJob._meta.db_table, FailedAttempt._meta.db_table]

    def convert(charset):
        with connection.cursor() as cursor:
            cursor.execute(
                f"ALTER TABLE {tables[0]} MODIFY last_error longtext CHARACTER SET {charset} NOT NULL"
            )
            cursor.execute(f"ALTER TABLE {tables[1]} MODIFY error longtext CHARACTER SET {charset} NOT NULL")

    def fail():
        raise ValueError("\U0001f600 and more")

    convert("latin1")
    try:
        in_job(fail)
        perform_next()
        row = DelayedJob.objects.get()
        assert row.state == "retrying"
        assert row.last_error.startswith("ValueError: \\U0001f600 and more")
    finally:
        DelayedJob.objects.all().delete()
        convert("utf8mb4")


@pytest.mark.django_db
def test_an_error_that_can_never_be_stored_is_recorded_without_its_text():
    error = describe(ValueError("x"))
    texts = []

    def refuse(text):
        texts.append(text.text)
        if len(texts) < 4:
            raise DatabaseError("too long")
        return text

    assert _with_text(error, refuse).text == "Error"
    assert len(texts) == 4


@pytest.mark.django_db
def test_a_message_cannot_forge_a_line_of_the_log(caplog, in_job):
    def fail():
        raise ValueError("a\x1b[31mb\nplain #1 COMPLETED")

    in_job(fail)
    perform_next()
    assert caplog.messages[-1].endswith("with ValueError: a\\x1b[31mb")


# Several at once, and crashes


@pytest.mark.django_db
def test_several_outcomes_are_settled_together_and_those_that_were_lost_are_returned(heard, caplog):
    for number in range(4):
        Plain.perform_later(number)
    finished, lost, rescheduled, crashed = DelayedJob.objects.claim(WORKER, 10)
    DelayedJob.objects.release([lost])
    before = DelayedJob.objects.filter(pk=lost.pk).values().get()
    performed = [
        (finished, Finished(Plain(), 0.1)),
        (lost, Finished(Plain(), 0.1)),
        (rescheduled, decide(rescheduled, Plain(), ValueError("x"))),
        (crashed, decide_after_crash(crashed, "its worker fell")),
    ]
    assert settle(performed) == [lost]
    assert DelayedJob.objects.filter(pk=lost.pk).values().get() == before
    assert not DelayedJob.objects.filter(pk=finished.pk).exists()
    assert DelayedJob.objects.get(pk=rescheduled.pk).error_class == "ValueError"
    assert DelayedJob.objects.get(pk=crashed.pk).crashes == 1
    assert [(signal, pk) for signal, _, pk, _ in heard] == [
        (job_finished, finished.pk),
        (job_errored, rescheduled.pk),
        (job_errored, crashed.pk),
    ]
    assert f"{lost} lost its claim; its outcome is dropped" in caplog.text


@pytest.mark.django_db
def test_jobs_of_one_batch_are_discarded_by_themselves(heard, diary):
    enqueue_all(jobs.Discarded(kind) for kind in ("lookup", "none", "lookup", "other"))
    rows = DelayedJob.objects.claim(WORKER, 10)
    assert settle([(row, perform(row)) for row in rows]) == []
    assert [signal for signal, *_ in heard if signal is not job_started] == [
        job_discarded,
        job_finished,
        job_discarded,
        job_errored,
    ]
    assert [row.pk for row in DelayedJob.objects.retrying()] == [rows[3].pk]
    assert DelayedJob.objects.count() == 1


@pytest.mark.django_db
def test_if_one_of_several_outcomes_cannot_be_written_none_is_written_or_announced(heard, monkeypatch):
    for number in range(2):
        Plain.perform_later(number)
    rows = DelayedJob.objects.claim(WORKER, 10)
    before = list(DelayedJob.objects.order_by("pk").values())

    def break_off(*args):
        raise OperationalError("cut off")

    monkeypatch.setattr(DelayedJobQuerySet, "discard_held", break_off)
    discarded = decide(rows[1], jobs.Discarded("lookup"), KeyError("x"))
    with pytest.raises(OperationalError):
        settle([(rows[0], Finished(Plain(), 0.1)), (rows[1], discarded)])
    assert list(DelayedJob.objects.order_by("pk").values()) == before
    assert heard == []


@pytest.mark.django_db
@pytest.mark.parametrize(("crashes", "signals"), [(0, [job_errored]), (2, [job_errored, job_failed])])
def test_a_crash_is_announced_like_every_outcome(heard, crashes, signals):
    Plain.perform_later()
    row = claim()
    row.crashes = crashes
    outcome = decide_after_crash(row, "its worker fell")
    assert settle([(row, outcome)]) == []
    assert [signal for signal, *_ in heard] == signals
    for _, sender, pk, what in heard:
        assert (sender, pk) == (Job, row.pk)
        assert what == {
            "job": None,
            "error": outcome.error,
            "exception": outcome.exception,
            "duration": None,
            "given_up": job_failed in signals,
        }


class Large:
    """A value that a failed job would keep in memory."""


@pytest.mark.django_db
@pytest.mark.parametrize("how", ["in perform", "in a cause", "in what perform called"])
def test_the_local_variables_of_a_failed_job_are_freed_when_its_failure_is_announced(in_job, heard, how):
    large, kept = [], []

    def called(value):
        raise ValueError("x")

    def fail():
        value = Large()
        large.append(weakref.ref(value))
        if how == "in perform":
            raise ValueError("x")
        if how == "in what perform called":
            called(value)
        try:
            called(value)
        except ValueError as error:
            raise KeyError("y") from error

    def hear(exception, **_):
        kept.append((exception, large[0]()))

    job_errored.connect(hear)
    gc.disable()
    try:
        in_job(fail)
        perform_next()
        [(exception, value)] = kept
        assert isinstance(value, Large)
        kept.clear()
        del value
        assert large[0]() is None
    finally:
        gc.enable()
        job_errored.disconnect(hear)
    assert traceback.extract_tb(exception.__traceback__)


@pytest.mark.django_db
def test_a_job_that_is_given_up_after_a_crash_may_be_removed(settings, heard):
    settings.DJANGO_DELAYED = {"DESTROY_FAILED_JOBS": True}
    Plain.perform_later()
    row = claim()
    row.crashes = 2
    assert settle([(row, decide_after_crash(row, "its worker fell"))]) == []
    assert not DelayedJob.objects.exists()
    assert [signal for signal, *_ in heard] == [job_errored, job_failed]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("count", [1, 2])
def test_a_conflict_is_repeated_and_not_taken_for_an_error_in_the_text(monkeypatch, count):
    """A deadlock ends the transaction: a plainer text would not help, and the savepoint is gone."""
    for number in range(count):
        Plain.perform_later(number)
    rows = DelayedJob.objects.claim(WORKER, 10)
    update, met = DelayedJobQuerySet.update, []

    def meet_a_conflict(queryset, **columns):
        if "last_error" in columns and len(met) < 3:
            met.append(columns)
            raise Conflict("deadlock")
        return update(queryset, **columns)

    monkeypatch.setattr(DelayedJobQuerySet, "update", meet_a_conflict)
    monkeypatch.setattr(
        type(database(connection)), "is_conflict", lambda self, error: isinstance(error, Conflict)
    )
    monkeypatch.setattr("django_delayed.databases.base.time.sleep", lambda seconds: None)
    assert settle([(row, decide(row, Plain(), ValueError("the text"))) for row in rows]) == []
    assert [row.error_message for row in DelayedJob.objects.all()] == ["the text"] * count


class Conflict(OperationalError):
    pass


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, True),
        ({"extras": 1}, False),
        ({"last_error": "once"}, False),
        ({"extras": RESULT}, False),
        ({"keep_for": HOUR}, True),
        ({"keep_for": HOUR, "last_error": "once"}, True),
        ({"keep_for": HOUR, "extras": RESULT}, True),
        ({"keep_for": HOUR, "extras": RESULT | 1}, False),
    ],
    ids=str,
)
def test_a_finished_job_is_plain_if_it_leaves_nothing_beside_its_row(columns, expected):
    row = DelayedJob(**columns)
    assert is_plain(row, Finished(Plain(), 0.1)) is expected
    assert not is_plain(row, Finished(Plain(), 0.1, is_moved=True))
    assert not is_plain(row, Released())


@transactional
@pytest.mark.parametrize("session", [None] if connection.vendor == "mysql" else [None, "kept"])
@pytest.mark.parametrize(("signal", "extras"), [(job_finished, 0), (result_settled, RESULT)])
def test_the_connection_of_receivers_is_closed_after_them_unless_their_session_keeps_it(
    session, signal, extras
):
    used = []

    def ask(**_):
        DelayedJob.objects.exists()
        used.append(connections[connection.alias])

    session = session and Session()
    Plain.perform_later()
    signal.connect(ask)
    try:
        row = claim()
        outcome = Finished(Plain(), 0.1)
        assert write_outcomes([(row, outcome)]) == []
        row.extras = extras
        announce([(row, outcome)], session)
    finally:
        signal.disconnect(ask)
    assert used[0] is not connections[connection.alias]
    if session:
        assert list(session._kept.values()) == used
        session.close()
    assert used[0].connection is None
