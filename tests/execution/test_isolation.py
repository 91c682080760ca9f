"""The process and its connections are put back after each job."""

import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import (
    connection,
    connections,
    transaction,
)
from django.utils import timezone, translation
from django_delayed.execution.outcomes import Finished
from django_delayed.execution.session import Session
from django_delayed.execution.settle import settle
from django_delayed.models import DelayedJob
from django_delayed.worker.configuration import Configuration
from django_delayed.worker.work_off import work_off as work_off_as_a_worker
from tests.blog.jobs import Plain
from tests.blog.models import Post
from tests.blog.work import claim, perform, perform_next, work_off

transactional = pytest.mark.django_db(transaction=True)


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
    assert settle([(row, perform(row))]) == []
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
def test_a_job_is_performed_in_a_thread_that_is_not_the_main_one(diary):
    def work():
        try:
            return perform_next()
        finally:
            connections.close_all()

    Plain.perform_later(1)
    with ThreadPoolExecutor() as pool:
        _, outcome = pool.submit(work).result()
    assert isinstance(outcome, Finished)
    assert diary == [("plain", (1,), {})]


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
    connection.queries_log.clear()
    for _ in range(20):
        Plain.perform_later()
    before = len(connection.queries_log)
    work_off_as_a_worker(Configuration())
    assert before >= 20
    assert len(connection.queries_log) < before


@pytest.mark.django_db
def test_an_error_of_the_database_does_not_cost_the_transaction_of_a_test(in_job):
    in_job(lambda: Post.objects.create(pk=1, title="kept"))
    in_job(lambda: Post.objects.bulk_create([Post(pk=1, title="twice the same key")]))
    in_job(lambda: Post.objects.create(pk=2, title="kept too"))
    work_off()
    assert DelayedJob.objects.get().error_class == "IntegrityError"
    assert list(Post.objects.order_by("pk").values_list("title", flat=True)) == ["kept", "kept too"]


@transactional
def test_the_handlers_that_a_receiver_has_replaced_are_put_back(wakeup_fd):
    def handlers():
        return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

    before = handlers()
    with Session(keeps=False):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
    assert handlers() == before


@transactional
def test_a_session_may_end_in_another_thread_than_the_one_that_made_it(wakeup_fd):
    session = Session(keeps=False)

    def use():
        with session:
            return Post.objects.count()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(use).result() == 0
