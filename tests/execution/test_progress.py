"""self.progress() while a job is performed: what is written, when, and who sees it."""

import asyncio
import logging
import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django_delayed import JobTimeout, testing
from django_delayed.exceptions import JobInterrupted
from django_delayed.execution import progress as module
from django_delayed.execution.outcomes import Finished, Released, Rescheduled
from django_delayed.execution.settle import settle
from django_delayed.features.progress.models import ProgressQuerySet
from django_delayed.models import DelayedJob, FailedAttempt, Progress
from django_delayed.supervisor.maintenance import remove_expired
from tests.blog.jobs import CALLS, AtomicReturning, Patient, Plain, Returning, ReturningCoroutine
from tests.blog.models import Post
from tests.blog.work import claim, perform, perform_next
from tests.connections import needs_server
from tests.playground.jobs import AtomicReporting, DyingReporting, Reporting
from tests.playground.processes import command, ledger, until, work

__all__ = ["command", "ledger", "work"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def saying(monkeypatch):
    """Enqueue a job that calls this with itself, and keep it; gives its row."""

    def enqueue(function, job_class=Returning):
        monkeypatch.setitem(CALLS, "saying", function)
        return job_class.perform_later("saying")

    return enqueue


@pytest.fixture
def each_written(monkeypatch):
    """Write the progress at each call, however soon after the last one."""
    monkeypatch.setattr(module, "WRITE_EVERY", 0)


def seen():
    """The rows of the table."""
    return list(Progress.objects.values_list("done", "total", "note"))


def elsewhere(function):
    """What the function returns in a thread, on connections of its own."""
    found = []

    def run():
        try:
            found.append(function())
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def test_the_first_progress_is_written_at_once_and_the_last_one_at_the_end(saying):
    during = []

    def go(job):
        for number in range(1, 1001):
            job.progress(number, 1000, f"product {number}")
            if number in (1, 1000):
                during.append(seen())

    row = saying(go)
    assert row.progress is None
    perform_next()
    assert during[0] == [(1, 1000, "product 1")]
    assert seen() == [(1000, 1000, "product 1000")]
    progress = DelayedJob.objects.get().progress
    assert (progress.done, progress.total, progress.note, progress.fraction) == (
        1000,
        1000,
        "product 1000",
        1,
    )


def test_a_thousand_calls_within_a_second_write_twice(saying, monkeypatch):
    def put(self, row, said):
        written.append(said.done)
        return real(self, row, said)

    written = []
    real = ProgressQuerySet.put
    monkeypatch.setattr(ProgressQuerySet, "put", put)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    saying(lambda job: [job.progress(number) for number in range(1000)] and None)
    perform_next()
    assert written == [0, 999]


def test_it_is_written_again_when_a_second_has_passed(saying, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    during = []

    def go(job):
        for number, at in enumerate((1000.0, 1000.9, 1001.0, 1001.5)):
            clock[0] = at
            job.progress(number)
            during.append(seen()[0][0])

    saying(go)
    perform_next()
    assert during == [0, 0, 2, 2]
    assert seen()[0][0] == 3


@needs_server
@pytest.mark.parametrize("job_class", [Returning, AtomicReturning])
def test_others_see_it_while_the_job_has_a_transaction_open(saying, each_written, job_class):
    during = []

    def go(job):
        with transaction.atomic():
            Post.objects.create(title="a")
            job.progress(1, 2)
            during.append(elsewhere(lambda: (seen(), Post.objects.count())))
            job.progress(2, 2)
            during.append(elsewhere(lambda: (seen(), Post.objects.count())))

    saying(go, job_class)
    assert isinstance(perform_next()[1], Finished)
    assert during == [([(1, 2, "")], 0), ([(2, 2, "")], 0)]


@pytest.mark.parametrize("job_class", [Returning, AtomicReturning])
def test_it_waits_for_no_transaction_of_the_job(saying, each_written, job_class):
    def go(job):
        with transaction.atomic():
            Post.objects.create(title="a")
            job.progress(1, 2)
        job.progress(2, 2, "after")

    row = saying(go, job_class)
    assert isinstance(perform_next()[1], Finished)
    assert seen() == [(2, 2, "after")]
    row.refresh_from_db()
    assert row.finished_at


def test_progress_is_not_rolled_back_with_the_transaction_of_the_job(saying, each_written):
    def go(job):
        with transaction.atomic():
            Post.objects.create(title="a")
            job.progress(7, 9)
            raise ZeroDivisionError

    saying(go)
    assert isinstance(perform_next()[1], Rescheduled)
    assert seen() == [(7, 9, "")]


def test_a_job_that_fails_leaves_its_progress(saying):
    def go(job):
        job.progress(0, 9, "begins")
        job.progress(5, 9, "product 5")
        raise ZeroDivisionError

    row = saying(go)
    perform_next()
    assert seen() == [(5, 9, "product 5")]
    # It stays until the next attempt says something else.
    CALLS["saying"] = lambda job: job.progress(6, 9)
    DelayedJob.objects.run_now()
    perform_next()
    assert seen() == [(6, 9, "")]
    assert row.progress.done == 6


@pytest.mark.parametrize("error", [JobInterrupted, JobTimeout("too long")])
def test_a_job_that_is_stopped_leaves_its_progress(saying, error):
    def go(job):
        job.progress(0)
        job.progress(5)
        raise error

    saying(go)
    row = claim()
    outcome = perform(row)
    assert isinstance(outcome, Released | Rescheduled)
    settle([(row, outcome)])
    assert seen() == [(5, None, "")]


def test_nothing_is_left_of_a_job_whose_row_is_removed(saying):
    during = []

    def go(job):
        job.progress(1)
        during.append(seen())

    row = saying(go)
    DelayedJob.objects.update(keep_for=None)
    perform_next()
    assert during == [[(1, None, "")]]
    assert seen() == []
    assert not DelayedJob.objects.filter(pk=row.pk).exists()


def test_progress_that_could_not_be_written_costs_no_statement_if_the_row_is_removed(saying, monkeypatch):
    def refuse(self, row, said):
        raise DatabaseError("read only")

    saying(lambda job: job.progress(1))
    DelayedJob.objects.update(keep_for=None)
    monkeypatch.setattr(ProgressQuerySet, "put", refuse)
    row = claim()
    with CaptureQueriesContext(connection) as captured:
        perform(row)
    assert [query["sql"] for query in captured if Progress._meta.db_table in query["sql"]] == []


def fail_after_progress(job):
    job.progress(1)
    raise ZeroDivisionError


@pytest.mark.parametrize(
    "remove",
    [
        lambda rows: rows.discard(),
        lambda rows: rows.delete(),
        lambda rows: rows.get().delete(),
        lambda rows: rows._raw_delete(rows.db),
    ],
    ids=["discard", "delete", "delete_one", "by_hand"],
)
def test_progress_of_a_row_that_is_removed_is_removed_with_it_or_pruned(saying, remove):
    gone, kept = saying(fail_after_progress), saying(fail_after_progress)
    perform_next()
    perform_next()
    assert len(seen()) == 2
    remove(DelayedJob.objects.filter(pk=gone.pk))
    remove_expired()
    assert list(Progress.objects.values_list("pk", flat=True)) == [kept.pk]
    assert remove_expired() == 0


def test_progress_of_a_job_that_expires_is_pruned_with_it(saying):
    saying(lambda job: job.progress(1))
    perform_next()
    DelayedJob.objects.update(expires_at=DelayedJob.objects.get().finished_at - timedelta(days=1))
    assert remove_expired() == 2
    assert seen() == []


def test_a_worker_that_has_lost_the_job_writes_nothing(saying, each_written):
    def go(job):
        job.progress(1)
        elsewhere(lambda: DelayedJob.objects.update(lock_token=7))
        job.progress(2)

    saying(go)
    row = claim()
    perform(row)
    assert seen() == [(1, None, "")]


def test_a_row_that_is_gone_gets_no_progress(saying, each_written):
    def go(job):
        elsewhere(lambda: DelayedJob.objects.all()._raw_delete("default"))
        job.progress(2)

    saying(go)
    perform(claim())
    assert seen() == []


@needs_server
def test_a_thread_of_the_job_may_call_progress(saying, each_written):
    during = []

    def go(job):
        thread = threading.Thread(target=lambda: job.progress(1, 2, "from a thread"))
        thread.start()
        thread.join()
        during.append(seen())

    saying(go)
    assert isinstance(perform_next()[1], Finished)
    assert during == [[(1, 2, "from a thread")]]
    assert seen() == [(1, 2, "from a thread")]


def test_progress_of_the_threads_of_a_job_is_written_at_its_end_on_every_database(saying):
    def go(job):
        threads = [threading.Thread(target=job.progress, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        job.progress(9)

    saying(go)
    assert isinstance(perform_next()[1], Finished)
    assert seen() == [(9, None, "")]


def test_a_thread_that_has_never_asked_the_database_is_left_without_a_connection(saying, each_written):
    def go(job):
        def say():
            job.progress(1)
            left.append(connection.connection)

        thread = threading.Thread(target=say)
        thread.start()
        thread.join()

    left = []
    saying(go)
    perform_next()
    assert left == [None]


def test_progress_may_be_called_in_on_failure(monkeypatch, each_written):
    row = Patient.perform_later()
    DelayedJob.objects.update(max_attempts=1)

    def go(job):
        job.progress(1, 2)
        raise ZeroDivisionError

    monkeypatch.setitem(CALLS, "patient", go)
    monkeypatch.setattr(Patient, "on_failure", lambda job, error: job.progress(1, 2, "given up"))
    perform_next()
    assert row.progress.note == "given up"


@pytest.fixture
def ended(saying):
    """A job that has called progress() in an attempt that is over."""
    jobs = []

    def go(job):
        job.progress(1)
        jobs.append(job)

    saying(go)
    perform_next()
    return jobs[0]


def test_progress_after_the_end_of_the_attempt_is_no_error(each_written, ended):
    ended.progress(2, 2)
    assert DelayedJob.objects.get().progress.done == 2
    DelayedJob.objects.all().delete()
    ended.progress(3, 3)
    assert seen() == []


def test_progress_after_the_end_of_the_attempt_is_written_at_once(ended):
    for number in range(2, 4):
        ended.progress(number)
        assert DelayedJob.objects.get().progress.done == number


def test_a_job_that_is_not_performed_by_a_worker_writes_nothing(monkeypatch, settings):
    monkeypatch.setitem(CALLS, "saying", lambda job: job.progress(1))
    Returning.perform_now("saying")
    settings.DJANGO_DELAYED = {"DELAY_JOBS": False}
    assert Returning.perform_later("saying").progress is None
    assert seen() == []


def test_an_error_of_the_database_is_not_an_error_of_the_job(saying, monkeypatch, caplog, each_written):
    def go(job):
        for number in range(3):
            job.progress(number)
        return Post.objects.count()

    saying(go)
    row = claim()
    monkeypatch.setattr(Progress._meta, "db_table", "a_table_that_is_not_there")
    with caplog.at_level(logging.WARNING, "django_delayed"):
        outcome = perform(row)
    assert isinstance(outcome, Finished)
    [record] = caplog.records
    assert "its progress cannot be written now" in record.message
    settle([(row, outcome)])
    assert DelayedJob.objects.get().return_value == 0


def test_a_note_that_the_database_refuses_is_written_in_ascii(saying, monkeypatch):
    put = ProgressQuerySet.put

    def refuse(self, row, said):
        if not said.note.isascii():
            raise module.Error("Incorrect string value")
        return put(self, row, said)

    monkeypatch.setattr(ProgressQuerySet, "put", refuse)
    saying(lambda job: job.progress(1, 2, "Käse 🧀"))
    perform_next()
    assert seen() == [(1, 2, "K?se ?")]


def test_a_note_of_any_characters_is_written(saying):
    saying(lambda job: job.progress(1, 2, "Käse 🧀 <b>&\x00\ud800"))
    perform_next()
    assert seen() == [(1, 2, "Käse 🧀 <b>&\\x00\\ud800")]


def test_progress_is_not_written_over_the_connection_of_the_job(saying, each_written):
    statements = []

    def go(job):
        connection.ensure_connection()
        of_job = connection.connection
        with connection.execute_wrapper(lambda execute, *args: statements.append(args[0]) or execute(*args)):
            job.progress(1)
        assert connection.connection is of_job

    saying(go)
    assert isinstance(perform_next()[1], Finished)
    assert statements == []
    assert seen() == [(1, None, "")]


def test_a_job_without_progress_costs_no_statement():
    Plain.perform_later(1)
    row = claim()
    with CaptureQueriesContext(connection) as captured:
        settle([(row, perform(row))])
    assert len(captured) == 1


@pytest.mark.django_db(transaction=False)
def test_progress_is_written_in_the_transaction_of_a_test_too(saying, each_written):
    def go(job):
        with transaction.atomic():
            job.progress(1, 2)
        assert job.delayed_job.id == row.pk
        thread = threading.Thread(target=job.progress, args=(2, 2))
        thread.start()
        thread.join()

    row = saying(go)
    assert testing.work_off() == 1
    assert seen() == [(2, 2, "")]


# In workers of their own.


def watched(row):
    """Wait until another connection sees the first progress of the job."""
    until(lambda: row.progress is not None)
    return row.progress.note


@pytest.mark.parametrize(
    "arguments", [(), ("--threads", 2), ("--isolate",)], ids=["plain", "threads", "isolate"]
)
@pytest.mark.parametrize("kind", [Reporting, AtomicReporting])
def test_the_progress_of_a_running_job_is_seen(work, ledger, kind, arguments):
    row = kind.perform_later(str(ledger), str(ledger.gate))
    work(*arguments)
    until(lambda: ledger.path.exists() and ledger.lines)
    if connection.vendor != "sqlite" or kind is Reporting:
        assert watched(row) == "first"
    ledger.gate.touch()
    # The last progress of an atomic job is written after its row has finished.
    until(lambda: seen() == [(3, 3, "last")])
    assert until(lambda: DelayedJob.objects.get().finished_at)


def test_jobs_workoff_writes_it_too(command, ledger):
    row = Reporting.perform_later(str(ledger), str(ledger.gate))
    run = command("jobs_workoff")
    assert watched(row) == "first"
    ledger.gate.touch()
    assert run.ends() == 0
    assert seen() == [(3, 3, "last")]


def test_a_killed_job_leaves_its_progress(work, ledger):
    row = DyingReporting.perform_later(str(ledger))
    work()
    until(lambda: DelayedJob.objects.get().finished_at)
    assert (row.progress.done, row.progress.total) == (1, 2)
    assert FailedAttempt.objects.count() == 1


def test_an_async_job_may_call_progress(saying, each_written):
    seen_by_others = []

    async def go(job):
        for number in range(1, 3):
            job.progress(number, 2)
            # Progress is written while the job awaits something.
            while (found := await asyncio.to_thread(elsewhere, seen)) != [(number, 2, "")]:
                seen_by_others.append(found)
                await asyncio.sleep(0.01)
        job.progress(2, 2, "done")

    row = saying(go, ReturningCoroutine)
    perform_next()
    assert seen() == [(2, 2, "done")]
    row.refresh_from_db()
    assert row.progress.note == "done"
