"""Jobs with `atomic = True`: what they write and the end of their row are both committed, or neither is."""

import asyncio
import logging
import time
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import IntegrityError, OperationalError, connection, connections, transaction
from django.db.backends.signals import connection_created
from django_delayed.exceptions import JobInterrupted
from django_delayed.execution.outcomes import (
    Cancelled,
    Discarded,
    Failed,
    Finished,
    Released,
    Rescheduled,
    Snoozed,
)
from django_delayed.execution.settle import settle
from django_delayed.execution.stopping import Stop
from django_delayed.models import DelayedJob, FailedAttempt
from django_delayed.reports import MARK
from django_delayed.signals import job_errored, job_finished, job_snoozed, job_started
from django_delayed.testing import work_off as work_off_in_test
from django_delayed.worker.configuration import Configuration
from django_delayed.worker.work_off import work_off
from tests.blog import jobs
from tests.blog.jobs import Atomic, Plain
from tests.blog.models import Post
from tests.blog.work import claim, perform, perform_next
from tests.connections import end_connection, needs_server, wrapped

transactional = pytest.mark.django_db(transaction=True)
each_way = pytest.mark.parametrize(
    "in_transaction",
    [
        pytest.param(False, marks=transactional),
        pytest.param(True, marks=pytest.mark.django_db),
    ],
    ids=["as in a worker", "as in a TestCase"],
)


def write(title="written"):
    Post.objects.create(title=title)


def is_written(title="written"):
    return Post.objects.filter(title=title).exists()


@pytest.fixture
def atomic(monkeypatch):
    """Enqueue an atomic job that writes and then calls this function with itself; gives its delayed job."""

    def enqueue(function=lambda job: None, **options):
        def write_and_call(job):
            write()
            return function(job)

        monkeypatch.setitem(jobs.CALLS, "atomic", write_and_call)
        return Atomic.set(**options).perform_later("atomic")

    return enqueue


@pytest.fixture
def on_call(monkeypatch):
    """Have a hook of the job call this function."""
    return lambda name, function: monkeypatch.setitem(jobs.CALLS, name, function)


@pytest.fixture
def at_commit(monkeypatch):
    """Replace the commit of a job by this function, which gets the real one."""

    def replace(commit):
        def replaced(job):
            mine = connections["default"]
            real = mine.commit
            monkeypatch.setattr(mine, "commit", lambda: commit(real))

        return replaced

    return replace


def raising(error):
    def function(*_):
        raise error

    return function


# The job succeeds


@transactional
def test_what_a_job_writes_and_the_end_of_its_row_are_committed_together(atomic, heard):
    seen = []

    def look(job):
        other = connection.copy()
        with other.cursor() as cursor:
            for model in (Post, DelayedJob):
                cursor.execute(f"SELECT count(*) FROM {model._meta.db_table}")
                seen.extend(cursor.fetchone())
        other.close()

    pk = atomic(look).pk
    row = claim()
    outcome = perform(row)
    assert seen == [0, 1]
    assert (type(outcome), outcome.is_moved) == (Finished, True)
    assert is_written()
    assert not DelayedJob.objects.exists()
    assert [signal for signal, *_ in heard] == [job_started]
    assert settle([(row, outcome)]) == []
    assert [(signal, sender, row) for signal, sender, row, _ in heard[1:]] == [(job_finished, Atomic, pk)]


@transactional
def test_a_row_that_is_kept_is_finished_with_the_data(atomic, settings):
    settings.DJANGO_DELAYED = {"KEEP_FINISHED_FOR": timedelta(days=1)}
    atomic()
    row = claim()
    outcome = perform(row)
    assert DelayedJob.objects.get().state == "finished"
    assert settle([(row, outcome)]) == []
    assert is_written()


@transactional
def test_earlier_failed_attempts_are_removed_with_the_row(atomic):
    fails = iter([True, False])
    atomic(lambda job: next(fails) and 1 / 0)
    perform_next()
    assert FailedAttempt.objects.count() == 1
    DelayedJob.objects.run_now()
    perform_next()
    assert not FailedAttempt.objects.exists()
    assert not DelayedJob.objects.exists()
    assert is_written()


@transactional
def test_hooks_around_the_perform_are_in_the_transaction_and_on_commit_comes_after_it(atomic, on_call):
    depths, gone = [], []
    on_call("before", lambda job: depths.append(len(connection.atomic_blocks)))
    on_call("after", lambda job: depths.append(len(connections["default"].atomic_blocks)))
    atomic(lambda job: transaction.on_commit(lambda: gone.append(not DelayedJob.objects.exists())))
    perform_next()
    assert depths == [1, 1]
    assert gone == [True]


@transactional
def test_what_it_enqueues_is_committed_with_it(atomic):
    atomic(lambda job: Plain.perform_later("next") and 1 / 0)
    perform_next()
    assert DelayedJob.objects.get().name == "Atomic"
    atomic(lambda job: Plain.perform_later("next"))
    perform_next()
    assert {row.name for row in DelayedJob.objects.all()} == {"Atomic", "Plain"}


@each_way
def test_a_worker_performs_and_counts_it(atomic, in_transaction):
    settled = []
    atomic()
    assert connection.in_atomic_block is in_transaction
    assert work_off(Configuration(), on_settled=settled.append) is True
    assert [type(outcome) for outcome in settled] == [Finished]
    assert is_written()
    assert not DelayedJob.objects.exists()


# The job does not succeed


@each_way
@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (ValueError, Rescheduled),
        (SystemExit, Rescheduled),
        (lambda: OperationalError("no route"), Rescheduled),
    ],
    ids=["an error", "an exit", "an error of a database"],
)
def test_an_error_undoes_what_the_job_wrote_and_not_what_its_hook_writes(
    atomic, on_call, heard, in_transaction, raised, expected
):
    write("of the caller")
    on_call("on_error", lambda job: write("of the hook"))
    atomic(raising(raised))
    _, outcome = perform_next()
    assert type(outcome) is expected
    assert (is_written(), is_written("of the hook"), is_written("of the caller")) == (False, True, True)
    assert DelayedJob.objects.get().state == "retrying"
    assert [signal for signal, *_ in heard] == [job_started, job_errored]


@each_way
def test_a_snooze_and_a_retry_undo_it_too(atomic, heard, in_transaction):
    atomic(lambda job: job.snooze(0))
    assert isinstance(perform_next()[1], Snoozed)
    assert not is_written()
    assert heard[-1][0] is job_snoozed
    DelayedJob.objects.all().discard()
    atomic(lambda job: job.retry_job(wait=60))
    assert isinstance(perform_next()[1], Rescheduled)
    assert not is_written()


@each_way
def test_an_error_in_a_hook_after_the_perform_undoes_it(atomic, on_call, in_transaction):
    on_call("after", raising(LookupError("after all")))
    atomic()
    assert isinstance(perform_next()[1], Rescheduled)
    assert not is_written()


@transactional
def test_an_error_that_discards_undoes_it_and_the_row_goes(atomic, monkeypatch):
    monkeypatch.setattr(Atomic, "discard_on", (LookupError,))
    atomic(raising(LookupError("gone")))
    assert isinstance(perform_next()[1], Discarded)
    assert not is_written()
    assert not DelayedJob.objects.exists()


@transactional
def test_a_job_that_runs_too_long_has_written_nothing(atomic):
    sessions = []

    def hang(job):
        sessions.append(connection.connection)
        time.sleep(30)

    atomic(hang, max_run_time=0.05)
    _, outcome = perform_next()
    assert isinstance(outcome, Rescheduled)
    assert outcome.error.error_class == "JobTimeout"
    assert not is_written()
    assert connection.connection is not sessions[0]


@transactional
@pytest.mark.skipif(connection.vendor != "postgresql", reason="others are not interrupted in a statement")
def test_no_connection_is_opened_to_roll_back_when_a_statement_is_interrupted(atomic):
    opened = []

    def hang(job):
        connection_created.connect(note)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(30)")

    def note(**_):
        opened.append(1)

    atomic(hang, max_run_time=0.05)
    row = claim()
    outcome = perform(row)
    connection_created.disconnect(note)
    assert outcome.error.error_class == "JobTimeout"
    assert opened == []
    assert not is_written()


@each_way
def test_a_job_that_is_interrupted_has_written_nothing_and_is_released(atomic, in_transaction):
    atomic(raising(JobInterrupted))
    _, outcome = perform_next()
    assert isinstance(outcome, Released)
    assert not is_written()
    assert DelayedJob.objects.get().attempts == 0


@transactional
@pytest.mark.parametrize("end", [str, lambda job: job.snooze(0), raising(LookupError)])
def test_a_job_that_an_operator_ends_has_written_nothing(atomic, end):
    atomic(lambda job: job.should_stop() and end(job))
    row = claim()
    outcome = perform(row, stop=Stop(is_cancelled=lambda: True))
    assert isinstance(outcome, Cancelled)
    assert settle([(row, outcome)]) == []
    assert not is_written()


@transactional
def test_a_block_that_the_job_has_left_open_is_an_error_before_the_row_is_moved(atomic):
    moves = []

    def note(execute, sql, *how):
        if sql.startswith("DELETE"):
            moves.append(sql)
        return execute(sql, *how)

    atomic(lambda job: transaction.atomic().__enter__())
    with wrapped(note):
        _, outcome = perform_next()
    assert moves == []
    assert "left a transaction open on 'default'" in outcome.error.message
    assert not is_written()
    assert DelayedJob.objects.get().state == "retrying"


@transactional
def test_a_database_error_that_the_job_swallows_costs_it_what_it_wrote(atomic):
    def swallow(job):
        try:
            with transaction.atomic(savepoint=False):
                raise IntegrityError
        except IntegrityError:
            pass

    atomic(swallow)
    _, outcome = perform_next()
    assert outcome.error.error_class == "TransactionManagementError"
    assert not is_written()


# The claim is lost


@each_way
def test_a_worker_that_has_lost_the_job_commits_nothing_of_it(atomic, heard, caplog, in_transaction):
    atomic()
    row = claim()
    DelayedJob.objects.update(lock_token=row.lock_token + 1)
    before = DelayedJob.objects.values().get()
    outcome = perform(row)
    assert isinstance(outcome, Released)
    assert not is_written()
    assert settle([(row, outcome)]) == [row]
    assert DelayedJob.objects.values().get() == before
    assert [signal for signal, *_ in heard] == [job_started]
    assert caplog.messages[-1] == f"{row} lost its claim; its outcome is dropped"


@transactional
@needs_server
def test_a_worker_that_loses_the_job_in_the_middle_of_it_commits_nothing_of_it(atomic):
    def take_over(job):
        other = connection.copy()
        with other.cursor() as cursor:
            cursor.execute(f"DELETE FROM {DelayedJob._meta.db_table}")
        other.close()

    atomic(take_over)
    row = claim()
    outcome = perform(row)
    assert settle([(row, outcome)]) == [row]
    assert not is_written()


@transactional
def test_a_row_that_the_job_hides_from_itself_is_an_error_of_the_job(atomic):
    table = DelayedJob._meta.db_table

    def hide(job):
        with connection.cursor() as cursor:
            cursor.execute(
                f"CREATE TEMPORARY TABLE {table} (id int, locked_by varchar(32), lock_token bigint)"
            )

    atomic(hide)
    _, outcome = perform_next()
    assert "its row was not found" in outcome.error.message
    assert not is_written()
    assert DelayedJob.objects.get().state == "retrying"


# The commit


@transactional
def test_a_commit_that_fails_is_an_error_of_the_job_and_nothing_is_written(atomic, on_call, at_commit):
    on_call("on_error", lambda job: write("of the hook"))
    atomic(at_commit(raising(OperationalError("could not serialize access"))))
    _, outcome = perform_next()
    assert outcome.error.message == "could not serialize access"
    assert (is_written(), is_written("of the hook")) == (False, True)
    assert DelayedJob.objects.get().state == "retrying"


@transactional
@pytest.mark.parametrize("keep", [None, timedelta(days=1)], ids=["a row that goes", "a row that is kept"])
def test_a_commit_whose_answer_is_lost_has_finished_the_job(
    atomic, on_call, at_commit, heard, caplog, settings, keep
):
    settings.DJANGO_DELAYED = {"KEEP_FINISHED_FOR": keep}
    on_call("on_error", lambda job: write("of the hook"))

    def lose_the_answer(commit):
        commit()
        raise OperationalError("server closed the connection unexpectedly")

    atomic(at_commit(lose_the_answer))
    row, outcome = perform_next()
    assert (type(outcome), outcome.is_moved) == (Finished, True)
    assert (is_written(), is_written("of the hook")) == (True, False)
    assert {row.state for row in DelayedJob.objects.all()} == ({"finished"} if keep else set())
    assert [signal for signal, *_ in heard] == [job_started, job_finished]
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    line = f"{row} was committed with all that it wrote, but an error was raised afterwards"
    assert record.getMessage() == line
    assert "server closed the connection" in str(record.exc_info[1])


@transactional
@needs_server
@pytest.mark.parametrize("is_committed", [True, False])
def test_a_job_is_released_when_nobody_knows_whether_it_was_committed(
    atomic, at_commit, monkeypatch, caplog, is_committed
):
    def lose_everything(commit):
        if is_committed:
            commit()
        monkeypatch.setattr("django_delayed.execution.transaction.close_broken", lambda one: None)
        end_connection(queue)
        raise OperationalError("server closed the connection unexpectedly")

    atomic(at_commit(lose_everything))
    row = claim()
    queue = connections["default"]
    outcome = perform(row)
    assert isinstance(outcome, Released)
    queue.close()
    assert settle([(row, outcome)]) == ([row] if is_committed else [])
    assert is_written() is is_committed
    assert [(row.state, row.attempts) for row in DelayedJob.objects.all()] == (
        [] if is_committed else [("enqueued", 0)]
    )
    assert ("lost its claim" in caplog.text) is is_committed


@transactional
@needs_server
def test_a_commit_is_asked_for_over_a_new_connection_when_that_of_the_queue_is_lost_too(atomic, at_commit):
    def lose_both(commit):
        commit()
        end_connection(queue)
        raise OperationalError("server closed the connection unexpectedly")

    atomic(at_commit(lose_both))
    row = claim()
    queue = connections["default"]
    assert isinstance(perform(row), Finished)
    assert is_written()


@transactional
@needs_server
def test_a_connection_that_is_lost_before_the_commit_is_an_error_of_the_job(atomic):
    atomic(lambda job: end_connection(connection))
    _, outcome = perform_next()
    assert isinstance(outcome, Rescheduled)
    assert not is_written()


@each_way
def test_an_error_in_what_runs_after_the_commit_changes_nothing(atomic, heard, caplog, in_transaction):
    atomic(lambda job: transaction.on_commit(raising(LookupError("no such file"))))
    assert work_off_in_test() == 1
    assert is_written()
    assert not DelayedJob.objects.exists()
    assert [signal for signal, *_ in heard] == [job_started, job_finished]
    assert "no such file" in caplog.text


@transactional
def test_a_job_that_a_log_handler_enqueues_about_that_is_a_report(atomic):
    class Reporter(logging.Handler):
        def emit(self, record):
            Plain.perform_later()

    reporter, logger = Reporter(logging.ERROR), logging.getLogger("django_delayed")
    logger.addHandler(reporter)
    atomic(lambda job: transaction.on_commit(raising(LookupError)))
    perform_next()
    logger.removeHandler(reporter)
    assert [row.extras & MARK for row in DelayedJob.objects.all()] == [MARK]


@pytest.fixture(params=["ends well", "raises", "leaves it open"])
def end_of_the_context(request, monkeypatch, settings):
    """How the block of the context, a transaction around the job, ends."""

    class InTransaction:
        @staticmethod
        def capture():
            return 1

        @staticmethod
        @contextmanager
        def restore(value):
            block = transaction.atomic()
            block.__enter__()
            yield
            if request.param == "raises":
                block.__exit__(LookupError, LookupError("at the end"), None)
                raise LookupError("at the end")
            if request.param == "ends well":
                block.__exit__(None, None, None)

    monkeypatch.setattr("tests.blog.context.InTransaction", InTransaction, raising=False)
    settings.DJANGO_DELAYED = {"CONTEXT": {"block": "tests.blog.context.InTransaction"}}
    return request.param


@transactional
def test_a_transaction_of_the_context_around_the_job_is_that_of_the_job(atomic, end_of_the_context):
    atomic()
    _, outcome = perform_next()
    is_well = end_of_the_context == "ends well"
    assert isinstance(outcome, Finished if is_well else Rescheduled)
    assert is_written() is is_well
    assert DelayedJob.objects.exists() is not is_well


# Without a worker


@pytest.mark.django_db
def test_a_job_that_is_performed_at_once_undoes_what_it_wrote(atomic, monkeypatch, settings):
    atomic(raising(LookupError("gone")))
    with pytest.raises(LookupError):
        Atomic.perform_now("atomic")
    assert not is_written()
    settings.DJANGO_DELAYED = {"DELAY_JOBS": False}
    with pytest.raises(LookupError):
        Atomic.perform_later("atomic")
    assert not is_written()
    atomic()
    assert is_written()
    monkeypatch.setattr(Atomic, "discard_on", (LookupError,))
    monkeypatch.setitem(jobs.CALLS, "lookup", lambda job: write("discarded") or raising(LookupError)())
    assert Atomic.perform_now("lookup") is None
    assert not is_written("discarded")


@transactional
def test_a_job_that_is_performed_at_once_commits_what_it_wrote(atomic, settings):
    settings.DJANGO_DELAYED = {"DELAY_JOBS": False}
    depths = []
    atomic(lambda job: depths.append(len(connection.atomic_blocks)))
    Atomic.perform_now("atomic")
    assert depths == [1, 1]
    assert Post.objects.filter(title="written").count() == 2


@pytest.mark.django_db
def test_a_plain_job_has_no_transaction_of_its_own(in_job):
    depths = []
    in_job(lambda: depths.append(len(connection.atomic_blocks)))
    work_off_in_test()
    assert depths == [len(connection.atomic_blocks)]


@transactional
def test_a_job_that_has_no_attempt_left_is_given_up_outside_of_its_transaction(atomic):
    atomic(raising(ValueError("no")), max_attempts=1)
    assert isinstance(perform_next()[1], Failed)
    assert DelayedJob.objects.get().state == "failed"
    assert not is_written()


# Async


@each_way
@pytest.mark.parametrize("fails", [False, True])
def test_an_async_job_is_committed_with_its_row_or_not_at_all(monkeypatch, in_transaction, fails):
    async def perform(job):
        await Post.objects.acreate(title="written")
        await asyncio.gather(*(Post.objects.acreate(title=f"and {number}") for number in range(2)))
        if fails:
            raise ValueError("no luck")

    monkeypatch.setitem(jobs.CALLS, "async", perform)
    jobs.AtomicCoroutine.set(max_attempts=1).perform_later("async")
    if in_transaction:
        work_off_in_test(raise_errors=False)
    else:
        work_off(Configuration())
    assert Post.objects.count() == (0 if fails else 3)
    assert [row.state for row in DelayedJob.objects.all()] == (["failed"] if fails else [])


@transactional
def test_an_async_job_that_runs_too_long_commits_nothing(monkeypatch):
    async def perform(job):
        await Post.objects.acreate(title="written")
        await asyncio.sleep(30)

    monkeypatch.setitem(jobs.CALLS, "async", perform)
    jobs.AtomicCoroutine.set(max_attempts=1, max_run_time=0.3).perform_later("async")
    assert work_off(Configuration()) is True
    assert DelayedJob.objects.get().error_class == "JobTimeout"
    assert not Post.objects.exists()
