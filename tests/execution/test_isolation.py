"""The process and its connections are put back after each job."""

import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import (
    connection,
    connections,
    transaction,
)
from django.utils import timezone, translation
from django_delayed.execution.isolation import ProcessState
from django_delayed.execution.outcomes import Finished
from django_delayed.execution.session import Session
from django_delayed.execution.settle import settle
from django_delayed.models import DelayedJob
from django_delayed.signals import job_finished, worker_started
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


# What belongs to the process.


@pytest.fixture
def process(monkeypatch, tmp_path):
    """Put the process of the tests back after the test, which runs in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ)
    monkeypatch.setenv("TOKEN", "secret")
    monkeypatch.setenv("TZ", "Europe/Paris")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGQUIT)}
    mask = os.umask(0o027)
    time.tzset()
    yield
    os.umask(mask)
    monkeypatch.undo()
    time.tzset()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def state_of_process():
    mask = os.umask(0)
    os.umask(mask)
    return (
        os.getcwd(),
        mask,
        dict(os.environ),
        os.getenv("TOKEN"),
        time.tzname,
        signal.getsignal(signal.SIGUSR1),
        id(os.environ),
    )


def change_directory():
    os.mkdir("below")
    os.chdir("below")


def remove_the_current_directory():
    change_directory()
    os.rmdir(os.getcwd())


def change_zone():
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()


def replace_environment():
    os.environ["TOKEN"] = "stolen"
    os.environ = {}  # noqa: B003


def handle_signals():
    for number in (signal.SIGUSR1, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)


CHANGES = {
    "directory": change_directory,
    "directory removed": remove_the_current_directory,
    "zone": change_zone,
    "environment replaced": replace_environment,
    "handlers": handle_signals,
    "umask": lambda: os.umask(0),
    "variables set": lambda: os.environ.update(NEW="here", TOKEN="stolen"),
    "variable removed": lambda: os.environ.pop("TOKEN"),
    "environment emptied": lambda: os.environ.clear(),
}


@transactional
@pytest.mark.parametrize("change", CHANGES)
def test_what_a_job_changes_of_the_process_is_put_back(in_job, process, change):
    found = []
    before = state_of_process()
    in_job(CHANGES[change])
    in_job(lambda: found.append(state_of_process()))
    work_off_as_a_worker(Configuration())
    assert DelayedJob.objects.count() == 0
    assert found == [before]


@transactional
def test_what_a_receiver_changes_of_the_process_is_put_back(in_job, process):
    def receive(**_):
        os.environ["TOKEN"] = "of the receiver"

    found = []
    in_job(lambda: None)
    in_job(lambda: found.append(os.environ["TOKEN"]))
    job_finished.connect(receive)
    try:
        work_off_as_a_worker(Configuration())
    finally:
        job_finished.disconnect(receive)
    assert found == ["secret"]


@transactional
def test_what_a_receiver_of_the_start_of_the_worker_changes_stays(in_job, process):
    def prepare(**_):
        os.environ["TOKEN"] = "of the worker"
        os.umask(0o077)

    found = []
    worker_started.connect(prepare)
    for _ in range(2):
        in_job(lambda: found.append(state_of_process()[1:4:2]))
    try:
        work_off_as_a_worker(Configuration())
    finally:
        worker_started.disconnect(prepare)
    assert found == [(0o077, "of the worker")] * 2


@transactional
def test_a_worker_whose_directory_is_gone_says_so_once_and_goes_on(in_job, process, caplog, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    os.chdir(home)

    def leave():
        os.chdir(tmp_path)
        home.rmdir()

    for change in (leave, lambda: None, lambda: None):
        in_job(change)
    work_off_as_a_worker(Configuration())
    assert DelayedJob.objects.count() == 0
    assert caplog.text.count("cannot be put back") == 1


@transactional
def test_the_stacks_can_be_dumped_after_a_job_has_replaced_the_handler_of_sigquit(in_job, process, tmp_path):
    before = signal.getsignal(signal.SIGQUIT)
    with (tmp_path / "stacks").open("w+") as file:
        faulthandler.register(signal.SIGQUIT, file)
        try:
            in_job(handle_signals)
            work_off_as_a_worker(Configuration())
            assert signal.getsignal(signal.SIGQUIT) is before
            # It is still registered; otherwise this would be False.
            assert faulthandler.unregister(signal.SIGQUIT)
        finally:
            faulthandler.unregister(signal.SIGQUIT)


@transactional
def test_a_stream_that_a_job_has_closed_is_open_again(in_job, process):
    before = os.fstat(0)
    in_job(lambda: os.close(0))
    work_off_as_a_worker(Configuration())
    assert os.fstat(0) == before


@transactional
def test_a_worker_in_another_thread_than_the_main_one_leaves_the_process_alone(in_job, process):
    def work():
        try:
            work_off_as_a_worker(Configuration())
        finally:
            connections.close_all()

    in_job(lambda: os.environ.update(TOKEN="stolen"))
    with ThreadPoolExecutor() as pool:
        pool.submit(work).result()
    assert os.environ["TOKEN"] == "stolen"


# Threads.


@pytest.fixture
def threads():
    """Start threads that run until the test is over."""
    over = threading.Event()
    started = []

    def start(name, daemon=False):
        started.append(threading.Thread(target=over.wait, name=name, daemon=daemon))
        started[-1].start()

    yield start
    over.set()
    for thread in started:
        thread.join()


def said_of_threads(caplog):
    return [record for record in caplog.records if "left threads running" in record.message]


@transactional
def test_threads_that_a_job_leaves_are_logged_once_with_their_names_and_its_own(in_job, threads, caplog):
    threads("of the process")
    for names in (["indexer", "cache"], [], ["a\nline"]):
        in_job(lambda names=names: [threads(name) for name in names])
    work_off_as_a_worker(Configuration())
    first, second = said_of_threads(caplog)
    assert first.message.endswith(" has left threads running: cache, indexer")
    assert first.levelno == logging.WARNING
    assert (first.job_name, first.threads) == ("call", ["cache", "indexer"])
    assert second.message.endswith("running: a\\nline")


@transactional
def test_daemon_threads_are_logged_at_info(in_job, threads, caplog):
    caplog.set_level(logging.INFO, "django_delayed")
    in_job(lambda: threads("exporter", daemon=True))
    work_off_as_a_worker(Configuration())
    [said] = said_of_threads(caplog)
    assert said.levelno == logging.INFO


@transactional
def test_many_threads_are_logged_in_one_short_line(in_job, threads, caplog):
    in_job(lambda: [threads(f"thread {number:02}") for number in range(15)])
    work_off_as_a_worker(Configuration())
    [said] = said_of_threads(caplog)
    assert said.message.endswith("thread 08, thread 09 and 5 more")
    assert len(said.threads) == 15


@transactional
def test_a_thread_that_ends_with_its_job_is_not_logged(in_job, caplog):
    def work():
        with ThreadPoolExecutor() as pool:
            pool.submit(int).result()

    in_job(work)
    work_off_as_a_worker(Configuration())
    assert said_of_threads(caplog) == []


def test_a_copy_of_a_stream_that_a_job_has_closed_is_no_error():
    state = ProcessState()
    for _, copy in state._streams:
        os.close(copy)
    state.close()
