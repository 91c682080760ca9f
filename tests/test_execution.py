"""One claimed job: performed, settled, and the process left as it was found."""

import gettext
import json
import logging
import os
import signal
import sys
import time
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
from django.utils import timezone, translation
from django_delayed import JobTimeout, delay, execution
from django_delayed.exceptions import JobInterrupted
from django_delayed.models import DelayedJob, FailedAttempt
from django_delayed.outcomes import Discarded, Failed, Finished, Released, Retried
from django_delayed.signals import job_errored, job_failed, job_finished, job_started
from django_delayed.tracebacks import describe
from tests.blog import jobs
from tests.blog.jobs import Plain
from tests.blog.models import Post
from tests.blog.work import WORKER, claim, perform_next, work_off, write

transactional = pytest.mark.django_db(transaction=True)


@pytest.fixture
def in_job(monkeypatch):
    """Enqueue a job that calls this function, in this process; gives its row."""

    def enqueue(function, **options):
        name = str(len(jobs.CALLS))
        monkeypatch.setitem(jobs.CALLS, name, function)
        return delay(jobs.call, **options)(name)

    return enqueue


@pytest.fixture
def heard():
    """What the signals said, in order."""
    said = []

    def hear(signal, sender, delayed_job, **what):
        said.append((signal, sender, delayed_job.pk, what))

    signals = (job_started, job_finished, job_errored, job_failed)
    for one in signals:
        one.connect(hear)
    yield said
    for one in signals:
        one.disconnect(hear)


# What comes of it


@pytest.mark.django_db
def test_a_job_that_succeeds_is_finished_and_gone(heard, caplog):
    caplog.set_level(logging.INFO, "django_delayed")
    pk = Plain.perform_later(1).pk
    _, outcome = perform_next()
    assert isinstance(outcome, Finished)
    assert outcome.result == (1,)
    assert not DelayedJob.objects.exists()
    (started, _, started_pk, _), (finished, sender, finished_pk, what) = heard
    assert (started, finished, started_pk, finished_pk, sender) == (job_started, job_finished, pk, pk, Plain)
    assert what == {"job": outcome.job, "duration": outcome.duration}
    first, second = caplog.messages
    assert first == f"Plain #{pk} RUNNING"
    assert second == f"Plain #{pk} COMPLETED after {outcome.duration:.4f} s"


@pytest.mark.django_db
def test_a_job_that_fails_is_tried_again(heard, caplog):
    post = Post.objects.create(title="a")
    pk = post.delay().fail().pk
    _, outcome = perform_next()
    assert isinstance(outcome, Retried)
    stored = DelayedJob.objects.get()
    assert (stored.state, stored.attempts, stored.locked_by) == ("retrying", 1, "")
    assert (stored.error_class, stored.error_message) == ("ConnectionError", "no route")
    assert stored.last_error.startswith("ConnectionError: no route\n\nTraceback")
    assert stored.run_at - stored.created_at >= timedelta(seconds=6)
    [(_, _, _, _), (signal_sent, _, _, what)] = heard
    assert signal_sent is job_errored
    assert (what["job"], what["error"]) == (outcome.job, outcome.error)
    assert caplog.messages[-1] == f"Post.fail #{pk} FAILED (0 prior attempts) with ConnectionError: no route"
    assert DelayedJob.objects.exclude(last_error="").last().last_error == stored.last_error


@pytest.mark.django_db
def test_a_job_that_failed_too_often_has_failed_for_good(heard, caplog):
    jobs.HookedOnce.perform_later("perform")
    _, outcome = perform_next()
    assert isinstance(outcome, Failed)
    assert DelayedJob.objects.get().state == "failed"
    assert [one for one, *_ in heard] == [job_started, job_errored, job_failed]
    assert "FAILED permanently with ArithmeticError: in perform" in caplog.messages[-1]


@pytest.mark.django_db
def test_a_job_that_has_failed_may_be_removed(settings, heard):
    settings.DJANGO_DELAYED = {"DESTROY_FAILED_JOBS": True}
    jobs.HookedOnce.perform_later("perform")
    perform_next()
    assert not DelayedJob.objects.exists()
    assert [one for one, *_ in heard] == [job_started, job_errored, job_failed]


@pytest.mark.django_db
def test_a_job_is_discarded_on_the_errors_that_it_names(heard, diary):
    jobs.Discarded.perform_later("lookup")
    _, outcome = perform_next()
    assert isinstance(outcome, Discarded)
    assert not DelayedJob.objects.exists()
    assert [one for one, *_ in heard] == [job_started, job_errored]
    jobs.Discarded.perform_later("other")
    perform_next()
    assert DelayedJob.objects.get().state == "retrying"


@pytest.mark.django_db
def test_a_finished_job_may_be_kept(settings):
    settings.DJANGO_DELAYED = {"KEEP_FINISHED_FOR": timedelta(days=1)}
    Plain.perform_later()
    perform_next()
    assert DelayedJob.objects.get().state == "finished"


@pytest.mark.django_db
def test_a_job_that_was_interrupted_goes_back_with_its_attempt(in_job, diary):
    def interrupt():
        raise JobInterrupted

    in_job(interrupt)
    row = claim()
    outcome = execution.perform(row)
    assert isinstance(outcome, Released)
    assert execution.settle(row, outcome)
    stored = DelayedJob.objects.get()
    assert (stored.state, stored.attempts, stored.last_error) == ("enqueued", 0, "")


@pytest.mark.django_db
def test_the_caller_is_told_the_job_before_it_is_performed(diary):
    Plain.perform_later(1)
    told = []
    execution.perform(claim(), loaded=lambda job: told.append((job.args, list(diary))))
    assert told == [((1,), [])]


@pytest.mark.django_db
def test_an_error_that_a_job_raises_is_written_down_whatever_it_is(in_job):
    class Mute(Exception):
        def __str__(self):
            raise SystemExit("no words")

    for error in (
        SystemExit(0),
        KeyboardInterrupt(),
        GeneratorExit(),
        Mute(),
        ExceptionGroup("many", [ValueError()]),
        ValueError("a\0b \udc80 " + "x" * 3_000_000),
    ):
        DelayedJob.objects.all().delete()
        in_job(lambda error=error: (_ for _ in ()).throw(error))
        perform_next()
        row = DelayedJob.objects.get()
        assert (row.state, row.error_class) == ("retrying", type(error).__name__)
        assert len(row.last_error.encode()) <= 64 * 1024
        assert "\0" not in row.last_error


@pytest.mark.django_db
def test_sys_exit_is_an_error_of_the_job(in_job):
    for leave in (sys.exit, lambda: sys.exit(0), lambda: sys.exit("bye"), quit):
        DelayedJob.objects.all().delete()
        in_job(leave)
        perform_next()
        assert DelayedJob.objects.get().error_class == "SystemExit"


@pytest.mark.django_db
def test_hooks_and_a_policy_that_end_the_process_end_nothing(caplog):
    jobs.Leaving.perform_later()
    perform_next()
    row = DelayedJob.objects.get()
    assert (row.state, row.error_class) == ("retrying", "ValueError")
    assert "its on_error() raised an error, which changes nothing" in caplog.text


# A claim that was lost


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["finish", "retry", "fail", "discard", "release"])
def test_what_comes_of_a_lost_claim_changes_nothing(heard, caplog, kind):
    Plain.perform_later()
    row = claim()
    job = Plain()
    error = describe(ValueError("x"))
    outcome = {
        "finish": Finished(job, 0.1),
        "retry": Retried(job, error, timedelta(seconds=6)),
        "fail": Failed(job, error),
        "discard": Discarded(job, error),
        "release": Released(),
    }[kind]
    DelayedJob.objects.filter(pk=row.pk).update(lock_token=row.lock_token + 1)
    before = DelayedJob.objects.values().get()
    assert execution.settle(row, outcome) is False
    assert DelayedJob.objects.values().get() == before
    assert not FailedAttempt.objects.exists()
    assert heard == []
    assert "is not ours any more; what came of it is dropped" in caplog.text


# Time


@transactional
def test_a_job_that_runs_too_long_is_stopped(in_job, monkeypatch, caplog):
    monkeypatch.setattr("django_delayed.call_jobs.CallJob.max_run_time", 0.05, raising=False)
    in_job(lambda: time.sleep(30))
    connection.ensure_connection()
    before = connection.connection
    perform_next()
    row = DelayedJob.objects.get()
    assert (row.state, row.error_class) == ("retrying", "JobTimeout")
    assert row.error_message == "call ran longer than its max_run_time of 0.05 s."
    assert connection.connection is not before  # it may have struck in the middle of a statement


@transactional
def test_a_timeout_in_the_middle_of_a_statement_leaves_a_good_connection(in_job, monkeypatch):
    monkeypatch.setattr("django_delayed.call_jobs.CallJob.max_run_time", 0.2, raising=False)
    sleep = {"postgresql": "SELECT pg_sleep(2)", "mysql": "SELECT SLEEP(2)"}.get(
        connection.vendor,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3e6) SELECT max(i) FROM n",
    )

    def ask():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sleep)

    in_job(ask)
    Plain.perform_later("next")
    perform_next()
    assert DelayedJob.objects.get(name="call").error_class == "JobTimeout"
    _, outcome = perform_next()
    assert isinstance(outcome, Finished)


@pytest.mark.django_db
def test_the_limit_of_the_settings_holds_where_the_job_has_none(settings, in_job):
    settings.DJANGO_DELAYED = {"MAX_RUN_TIME": 0.05}
    in_job(lambda: time.sleep(30))
    perform_next()
    assert DelayedJob.objects.get().error_class == "JobTimeout"


# The process and its connections are left as they were found


def leave_transaction_open():
    transaction.atomic().__enter__()
    Post.objects.create(title="lost")


def leave_two_transactions_open():
    transaction.atomic().__enter__()
    leave_transaction_open()


def leave_autocommit_off():
    transaction.set_autocommit(False)
    Post.objects.create(title="lost")


def break_transaction():
    transaction.atomic().__enter__()
    with connection.cursor() as cursor:
        cursor.execute("SELECT nonsense")


def close_connection():
    connections["default"].close()


def close_in_transaction():
    transaction.atomic().__enter__()
    connection.close()


def activate():
    translation.activate("de")
    timezone.activate("Asia/Tokyo")


def install_handlers():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    signal.set_wakeup_fd(-1)


def exit_in_transaction():
    transaction.atomic().__enter__()
    sys.exit(0)


def raise_in_atomic():
    with transaction.atomic():
        Post.objects.create(title="lost")
        raise KeyboardInterrupt


ROLLED_BACK = [leave_transaction_open, leave_two_transactions_open, leave_autocommit_off]
HOSTILE = [
    *ROLLED_BACK,
    break_transaction,
    close_connection,
    close_in_transaction,
    activate,
    install_handlers,
    exit_in_transaction,
    raise_in_atomic,
]


@pytest.fixture
def wakeup_fd():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer)
    yield writer
    assert signal.set_wakeup_fd(before) == writer
    os.close(reader)
    os.close(writer)


@transactional
@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda function: function.__name__)
def test_the_next_job_finds_a_clean_process(in_job, hostile, wakeup_fd):
    def state():
        return (
            translation.get_language(),
            timezone.get_current_timezone_name(),
            [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)],
            connection.in_atomic_block,
            connection.get_autocommit(),
            list(connection.savepoint_ids),
            connection.needs_rollback,
            list(connection.run_on_commit),
        )

    found = []

    def probe():
        Post.objects.create(title="probe")
        found.append(state())

    in_job(probe)
    perform_next()
    alarm = signal.getsignal(signal.SIGALRM)
    in_job(hostile)
    in_job(probe)
    row = claim()
    assert execution.settle(row, execution.perform(row))
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is alarm
    _, outcome = perform_next()
    assert isinstance(outcome, Finished)
    assert found[0] == found[1]
    assert [post.title for post in Post.objects.all()] == ["probe", "probe"]


@transactional
@pytest.mark.parametrize("hostile", ROLLED_BACK, ids=lambda function: function.__name__)
def test_a_job_that_leaves_a_transaction_open_has_not_succeeded(in_job, hostile):
    in_job(hostile)
    perform_next()
    row = DelayedJob.objects.get()
    assert row.state == "retrying"
    assert "left a transaction open on 'default'; what it wrote there is lost" in row.last_error


@transactional
def test_a_connection_is_kept_from_job_to_job(diary):
    Plain.perform_later(1)
    Plain.perform_later(2)
    perform_next()
    before = connection.connection
    assert before is not None
    perform_next()
    assert connection.connection is before


@pytest.mark.django_db
def test_the_transaction_of_a_caller_is_left_alone(in_job):
    Post.objects.create(title="mine")
    with transaction.atomic():
        in_job(lambda: Post.objects.create(title="of the job"))
        in_job(lambda: 1 / 0)
        work_off()
        assert connection.in_atomic_block
    assert Post.objects.count() == 2
    assert DelayedJob.objects.get().error_class == "ZeroDivisionError"


@pytest.mark.django_db
def test_a_timeout_leaves_the_transaction_of_a_caller_alone(settings, in_job):
    settings.DJANGO_DELAYED = {"MAX_RUN_TIME": 0.05}
    before = connection.connection
    in_job(lambda: time.sleep(30))
    perform_next()
    assert connection.connection is before
    assert DelayedJob.objects.get().error_class == "JobTimeout"


@transactional
def test_queries_are_not_remembered_from_job_to_job(settings):
    settings.DEBUG = True
    Plain.perform_later()
    perform_next()
    row = claim() if DelayedJob.objects.exists() else None
    assert row is None
    Plain.perform_later()
    execution.perform(claim())
    assert len(connection.queries_log) == 0


# In a transaction of the caller, as in a test


@pytest.mark.django_db
def test_an_error_of_the_database_does_not_cost_the_transaction_of_a_test(in_job):
    in_job(lambda: Post.objects.create(pk=1, title="kept"))
    in_job(lambda: Post.objects.bulk_create([Post(pk=1, title="twice the same key")]))
    in_job(lambda: Post.objects.create(pk=2, title="kept too"))
    work_off()
    assert DelayedJob.objects.get().error_class == "IntegrityError"
    assert list(Post.objects.order_by("pk").values_list("title", flat=True)) == ["kept", "kept too"]


# A database that is away


def end_connection(target):
    """Let the server end it, as a restart or a network would."""
    other = connection.copy()
    with other.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_terminate_backend(%s)", [target.connection.info.backend_pid])
        else:
            cursor.execute(f"KILL {target.connection.thread_id()}")
    other.close()


needs_server = pytest.mark.skipif(connection.vendor == "sqlite", reason="has no connection to lose")


@transactional
@needs_server
def test_a_job_whose_database_is_away_when_it_is_loaded_is_tried_again():
    post = Post.objects.create(title="a")
    post.delay().bare()
    row = claim()
    end_connection(connection)
    outcome = execution.perform(row)
    assert isinstance(outcome, Retried)
    assert outcome.job is None
    assert outcome.error.error_class in ("OperationalError", "InterfaceError", "AdminShutdown")
    assert execution.settle(row, outcome)
    assert DelayedJob.objects.get().state == "retrying"


@transactional
@needs_server
def test_settling_raises_while_the_database_is_away_and_succeeds_after():
    Plain.perform_later()
    row = claim()
    end_connection(connection)
    with pytest.raises((OperationalError, InterfaceError)):
        execution.settle(row, Finished(Plain(), 0.1))
    connection.close()
    assert execution.settle(row, Finished(Plain(), 0.1))
    assert not DelayedJob.objects.exists()


@transactional
@needs_server
def test_a_lost_connection_costs_the_record_of_a_failure_nothing():
    Plain.perform_later()
    row = claim()
    outcome = Failed(Plain(), describe(ValueError("ü")))
    end_connection(connection)
    try:
        assert execution.settle(row, outcome)
    except (OperationalError, InterfaceError):
        connection.close()
        assert execution.settle(row, outcome)
    assert DelayedJob.objects.failed().get().error_message == "ü"


@transactional
@needs_server
def test_a_job_that_loses_its_connection_is_tried_again_and_the_next_has_a_new_one(in_job, diary):
    def lose():
        connection.ensure_connection()
        end_connection(connection)
        Post.objects.create(title="a")

    in_job(lose)
    Plain.perform_later("next")
    perform_next()
    assert DelayedJob.objects.get(name="call").state == "retrying"
    perform_next()
    assert diary == [("plain", ("next",), {})]


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
    assert "\\U0001f600" in execution._record(error, refuse)
    assert refused == [error, error]


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

    assert execution._record(error, refuse).text == "Error"
    assert len(texts) == 4


# What the log says of hostile text


@pytest.mark.django_db
def test_a_message_cannot_forge_a_line_of_the_log(caplog, in_job):
    def fail():
        raise ValueError("a\x1b[31mb\nplain #1 COMPLETED")

    in_job(fail)
    perform_next()
    assert caplog.messages[-1].endswith("with ValueError: a\\x1b[31mb")


@pytest.mark.django_db
def test_a_hand_written_job_with_a_language_that_does_not_exist_is_performed(diary):
    payload = {
        "job": "tests.blog.jobs:Surroundings",
        "args": [],
        "kwargs": {},
        "language": "xx",
        "timezone": None,
    }
    write(json.dumps(payload))
    perform_next()
    assert diary == [("xx", "Europe/Paris")]
    assert gettext.gettext("a") == "a"


@pytest.mark.django_db
def test_a_row_is_performed_as_claimed():
    Plain.perform_later()
    row = claim()
    assert (row.locked_by, row.attempts, row.state) == (WORKER, 1, "running")
    assert isinstance(execution.perform(row), Finished)
    assert DelayedJob.objects.get().state == "running"  # nothing is written before it is settled
    assert issubclass(JobTimeout, BaseException)
    assert not issubclass(JobTimeout, Exception)
