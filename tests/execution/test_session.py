"""The connections of a job are neither the queue's nor those of the job before."""

import asyncio
import gc
import os
import sqlite3
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from django.db import ProgrammingError, connection, connections, transaction
from django.db.backends.signals import connection_created
from django.test.utils import CaptureQueriesContext
from django_delayed import Job, enqueue_all
from django_delayed.databases import database
from django_delayed.exceptions import JobInterrupted
from django_delayed.execution.perform import perform
from django_delayed.execution.session import Session
from django_delayed.models import DelayedJob
from django_delayed.signals import job_finished, job_started
from django_delayed.worker.configuration import Configuration
from django_delayed.worker.work_off import work_off
from tests.blog.jobs import Plain
from tests.blog.models import Post
from tests.connections import end_connection, needs_server, other_connections
from tests.playground.processes import until

pytestmark = pytest.mark.django_db(transaction=True)

QUEUE = DelayedJob._meta.db_table
POST = Post._meta.db_table


def run(*statements):
    with connection.cursor() as cursor:
        for sql in statements:
            cursor.execute(sql)


def ask(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def set_row_factory(factory):
    connection.ensure_connection()
    connection.connection.row_factory = factory


def psycopg_dict_rows():
    set_row_factory(connection.Database.rows.dict_row)


def psycopg_read_only():
    connection.ensure_connection()
    connection.connection.read_only = True


def sqlite_function():
    connection.ensure_connection()
    connection.connection.create_function("strftime", 2, lambda *_: "a lie")


SETS = {
    "postgresql": {
        "search_path": lambda: run("SET search_path TO nowhere"),
        "role": lambda: run("SET ROLE pg_read_all_data"),
        "timeout": lambda: run("SET statement_timeout = '1ms'"),
        "read only": lambda: run("SET default_transaction_read_only = on"),
        "isolation": lambda: run("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
        "time zone": lambda: run("SET TIME ZONE 'Asia/Tokyo'"),
        "temporary table": lambda: run(f"CREATE TEMPORARY TABLE {QUEUE} (id int)"),
        "lock": lambda: run("SELECT pg_advisory_lock(42)"),
        "listen": lambda: run("LISTEN something"),
        "prepared": lambda: run("PREPARE one AS SELECT 1"),
        "driver's rows": psycopg_dict_rows,
        "driver's transactions": psycopg_read_only,
    },
    "mysql": {
        "use": lambda: run("USE mysql"),
        "sql_mode": lambda: run("SET SESSION sql_mode = 'ANSI_QUOTES'"),
        "read only": lambda: run("SET SESSION TRANSACTION READ ONLY"),
        "time zone": lambda: run("SET time_zone = '+09:00'"),
        "variable": lambda: run("SET @mine = 1"),
        "temporary table": lambda: run(f"CREATE TEMPORARY TABLE {QUEUE} (id int)"),
        "lock": lambda: ask("SELECT GET_LOCK('mine', 1)"),
        "locked table": lambda: run(f"LOCK TABLES {POST} READ"),
    },
    "sqlite": {
        "query_only": lambda: run("PRAGMA query_only = ON"),
        "attach": lambda: run("ATTACH ':memory:' AS other"),
        "foreign_keys": lambda: run("PRAGMA foreign_keys = OFF"),
        "temporary table": lambda: run(f"CREATE TEMPORARY TABLE {QUEUE} (id int)"),
        "temporary trigger": lambda: run(
            f"CREATE TEMPORARY TRIGGER t BEFORE DELETE ON {QUEUE} BEGIN SELECT RAISE(IGNORE); END"
        ),
        "function": sqlite_function,
        "driver's rows": lambda: set_row_factory(sqlite3.Row),
    },
}[connection.vendor]
STATE = {
    "postgresql": [
        "SELECT name, setting FROM pg_settings WHERE name <> 'application_name' ORDER BY name",
        "SELECT current_user",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'",
        "SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()",
        "SELECT * FROM pg_listening_channels()",
        "SELECT name FROM pg_prepared_statements",
    ],
    "mysql": [
        "SELECT DATABASE(), @@sql_mode, @@tx_read_only, @@time_zone, @mine",
        "SELECT IS_FREE_LOCK('mine')",
    ],
    "sqlite": [
        "PRAGMA query_only",
        "PRAGMA database_list",
        "PRAGMA foreign_keys",
        "SELECT count(*) FROM sqlite_temp_master",
    ],
}[connection.vendor]


@pytest.mark.parametrize("how", SETS.values(), ids=SETS)
def test_what_a_job_sets_reaches_neither_the_next_job_nor_the_queue(in_job, how):
    found = []

    def look():
        found.append([ask(sql) for sql in STATE])
        Post.objects.create(title="seen")

    in_job(look)
    in_job(how)
    in_job(look)
    in_job(lambda: None)
    assert work_off(Configuration()) is True
    assert found[0] == found[1]
    assert Post.objects.filter(title="seen").count() == 2
    assert not DelayedJob.objects.exists()


@pytest.mark.parametrize("how", SETS.values(), ids=SETS)
def test_what_an_async_job_sets_reaches_neither_the_next_job_nor_the_queue(in_job, how):
    found = []

    async def look():
        found.append([await sync_to_async(ask)(sql) for sql in STATE])
        await Post.objects.acreate(title="seen")

    async def set_it():
        await Post.objects.acount()
        await sync_to_async(how)()

    for function in (look, set_it, look, lambda: None):
        in_job(function)
    assert work_off(Configuration()) is True
    assert found[0] == found[1]
    assert Post.objects.filter(title="seen").count() == 2
    assert not DelayedJob.objects.exists()


def test_the_queries_of_an_async_job_are_made_on_the_connection_of_its_hooks(monkeypatch, opened):
    class Asking(Job):
        def before_perform(self):
            Post.objects.create(title="before")
            used.append(connections["default"])

        async def perform(self):
            assert await Post.objects.filter(title="before").aexists()
            async for post in Post.objects.all():
                post.title = "during"
                await post.asave()
            used.append(await sync_to_async(lambda: connections["default"])())

        def after_perform(self):
            assert Post.objects.get().title == "during"
            used.append(connections["default"])

    used = []
    around = connections["default"]
    session = Session(keeps=False)
    opened.clear()
    with session:
        Asking.perform_now()
    assert used[0] is used[1] is used[2] is not around
    # Before its first INSERT, Django 6 asks MariaDB for its version, over a connection of its own.
    assert {*opened} == {"default"}
    assert used[0].connection is None
    assert connections["default"] is around


def test_no_connection_and_no_thread_is_left_by_fifty_async_jobs(in_job, opened):
    async def ask_at_once():
        await asyncio.gather(*(Post.objects.acount() for _ in range(3)))

    async def fail():
        await Post.objects.aget(pk=0)

    async def ask_in_a_task():
        await asyncio.create_task(Post.objects.acount())

    for number in range(51):
        in_job((ask_at_once, fail, ask_in_a_task)[number % 3], max_attempts=1)
    threads = set(threading.enumerate())
    before = sessions()
    opened.clear()
    assert work_off(Configuration()) is True
    assert DelayedJob.objects.failed().count() == DelayedJob.objects.count() == 17
    # Each job has one, and the queue has one.
    assert len(opened) <= 51 + 1
    # A thread of an earlier test may end meanwhile.
    until(lambda: set(threading.enumerate()) <= threads)
    # SQLite keeps a few closed files open for the connections that come next.
    more = 5 if connection.vendor == "sqlite" else 0
    until(lambda: sessions() <= before + more)


def sessions():
    """How many sessions the database has; on SQLite, how often this process has its file open."""
    if connection.vendor != "sqlite":
        return len(other_connections())
    if connection.is_in_memory_db():
        return 0
    name, files = str(connection.settings_dict["NAME"]), Path("/proc/self/fd").iterdir()
    return sum(os.path.realpath(file).startswith(name) for file in files)


def test_an_async_job_that_leaves_a_transaction_open_has_failed(in_job):
    async def leave():
        await sync_to_async(transaction.set_autocommit)(False)
        await Post.objects.acreate(title="lost")

    in_job(leave, max_attempts=1)
    assert work_off(Configuration()) is True
    [message] = DelayedJob.objects.values_list("error_message", flat=True)
    assert message == "The job left a transaction open on 'default'; what it wrote there is lost."
    assert not Post.objects.exists()


def test_a_query_of_an_async_job_that_runs_too_long_is_ended_with_its_connection(in_job):
    used = []

    def hang():
        used.append(connections["default"])
        Post.objects.count()
        time.sleep(30)

    async def call():
        await sync_to_async(hang)()

    async def count():
        used.append(await Post.objects.acount())

    in_job(call, max_attempts=1, max_run_time=0.05)
    in_job(count)
    assert work_off(Configuration()) is True
    assert used[0].connection is None
    assert used[1:] == [0]
    assert DelayedJob.objects.get().error_class == "JobTimeout"


@pytest.mark.parametrize("how", SETS.values(), ids=SETS)
def test_what_a_receiver_sets_reaches_neither_a_job_nor_the_queue(in_job, how):
    found = []

    def look():
        found.append([ask(sql) for sql in STATE])

    def receive(sender, delayed_job, **_):
        if delayed_job.queue == "first":
            how()

    in_job(lambda: None, queue="first")
    in_job(look, queue="second", priority=1)
    job_started.connect(receive)
    job_finished.connect(receive)
    try:
        assert work_off(Configuration()) is True
    finally:
        job_started.disconnect(receive)
        job_finished.disconnect(receive)
    in_job(look)
    assert work_off(Configuration()) is True
    assert found[0] == found[1]
    assert not DelayedJob.objects.exists()


def test_what_is_set_on_the_connection_object_does_not_reach_the_next_job(in_job):
    found = []

    def switch():
        found.append(vars(connections["default"]).get("schema_name"))
        connections["default"].schema_name = "tenant"

    def switch_and_ask():
        switch()
        Post.objects.exists()

    for function in (switch, switch, switch_and_ask, switch):
        in_job(function)
    assert work_off(Configuration()) is True
    assert found == [None] * 4
    assert "schema_name" not in vars(connections["default"])


@pytest.fixture
def opened():
    """The aliases of the connections that were opened."""
    aliases = []

    def note(connection, **_):
        aliases.append(connection.alias)

    connection_created.connect(note)
    yield aliases
    connection_created.disconnect(note)


def test_jobs_without_sql_open_no_connection(opened, diary):
    enqueue_all([Plain(number) for number in range(5)])
    rows = DelayedJob.objects.claim("1" * 32, 5)
    opened.clear()
    session = Session()
    for row in rows:
        perform(row, session)
    assert opened == []
    assert len(diary) == 5


@pytest.mark.skipif(connection.vendor == "mysql", reason="each session is used once")
def test_the_next_jobs_use_a_session_on_which_nothing_was_set():
    session = Session()
    used = []
    for _ in range(4):
        with session:
            Post.objects.create(title="written")
            used.append(connection.connection)
        with session:
            pass
    session.close()
    # On SQLite, the first session is another one, because it was not watched from its beginning.
    assert used[1] is used[2] is used[3]
    assert Post.objects.count() == 4


BEGINS = {
    "sqlite": ["BEGIN IMMEDIATE", "BEGIN", "SAVEPOINT mine"],
    "postgresql": ["BEGIN", "START TRANSACTION"],
    "mysql": [],
}[connection.vendor]


@pytest.mark.parametrize("begin", BEGINS)
def test_a_transaction_that_a_statement_has_begun_is_found(in_job, begin):
    def write():
        run(begin)
        Post.objects.create(title="lost")

    for _ in range(3):
        in_job(write, max_attempts=1)
    assert work_off(Configuration()) is True
    errors = set(DelayedJob.objects.values_list("error_message", flat=True))
    assert errors == {"The job left a transaction open on 'default'; what it wrote there is lost."}
    assert not Post.objects.exists()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="has no named cursors")
# Python reports that the cursor is gone where nobody can catch it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_iterator_that_a_job_leaves_behind_does_not_close_the_cursor_of_the_next():
    Post.objects.bulk_create(Post(title=str(number)) for number in range(50))
    session = Session()
    with session:
        left = Post.objects.iterator(chunk_size=5)
        next(left)
    with session:
        posts = Post.objects.iterator(chunk_size=5)
        next(posts)
        # Python does the same when it collects the iterator: the cursor is gone already.
        with suppress(ProgrammingError):
            left.close()
        gc.collect()
        assert len(list(posts)) == 49
    session.close()


def test_the_queries_of_a_test_are_counted_around_its_jobs(in_job):
    in_job(lambda: Post.objects.exists())
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        Post.objects.exists()
        work_off(Configuration())
    assert len(queries) > 3


@pytest.mark.parametrize("error", [JobInterrupted, MemoryError])
def test_the_outer_connections_come_back_when_the_end_of_a_block_is_interrupted(monkeypatch, error):
    def interrupt(connection):
        raise error

    monkeypatch.setattr("django_delayed.execution.session.reset_session", interrupt)
    around = connections["default"]
    session = Session()
    enter(session, Post.objects.exists, error)
    assert connections["default"] is around
    monkeypatch.undo()
    with session:
        assert not Post.objects.exists()
    session.close()
    assert connections["default"] is around


def enter(session, function, error):
    def block():
        with session:
            function()

    if connection.vendor == "mysql":
        block()
    else:
        with pytest.raises(error):
            block()


def backend():
    return ask("SELECT pg_backend_pid()")[0][0]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="is not put back by a statement")
def test_a_session_that_was_put_back_is_used_by_the_next_job_until_it_is_closed():
    session = Session()
    pids = []
    for _ in range(2):
        with session:
            pids.append(backend())
        with session:
            pass
    session.close()
    with session:
        pids.append(backend())
    session.close()
    assert pids[0] == pids[1] != pids[2]
    assert backend() not in pids


@pytest.mark.skipif(connection.vendor != "postgresql", reason="is not put back by a statement")
@pytest.mark.parametrize("max_age", [0, None, 3600, 0.0001])
def test_a_session_is_kept_no_longer_than_its_conn_max_age(monkeypatch, max_age):
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", max_age)
    session = Session()
    pids = set()
    for _ in range(3):
        with session:
            pids.add(backend())
    session.close()
    assert len(pids) == (3 if max_age == 0.0001 else 1)


@needs_server
@pytest.mark.parametrize("lose", ["between", "within", "closed by the job"])
def test_a_session_that_was_lost_is_not_used_again(lose):
    session = Session()
    with session:
        Post.objects.exists()
        current = connections["default"]
        if lose == "within":
            end_connection(current)
            until(lambda: connection.vendor == "mysql" or database(current).has_lost_session())
    if lose == "between" and current.connection is not None:
        end_connection(current)
        until(database(current).has_lost_session)
    with session:
        assert not Post.objects.exists()
        if lose == "closed by the job":
            connection.close()
            assert not Post.objects.exists()
    with session:
        assert not Post.objects.exists()
    session.close()


@pytest.mark.parametrize("when", ["in a job", "between two jobs"])
def test_a_session_that_was_closed_without_django_is_not_used_again(when):
    session = Session()
    for _ in range(3):
        with session:
            assert not Post.objects.exists()
            of_driver = connection.connection
            if when == "in a job":
                of_driver.close()
        if when == "between two jobs":
            # Where no session is kept, it is closed already, and MySQLdb raises an error.
            with suppress(connection.Database.Error):
                of_driver.close()
    session.close()


def test_a_block_inside_of_a_transaction_has_the_outer_connections():
    with transaction.atomic():
        Post.objects.create(title="of the caller")
        around = connections["default"]
        with Session():
            assert connections["default"] is around
            assert Post.objects.count() == 1
        assert connections["default"] is around
    assert Post.objects.count() == 1


def test_the_connections_of_a_caller_come_back_after_an_error():
    around = connections["default"]

    def fail():
        with Session(keeps=False):
            Post.objects.exists()
            raise ValueError("it broke")

    with pytest.raises(ValueError, match="it broke"):
        fail()
    assert connections["default"] is around


# MariaDB and MySQL cannot put a session back, so there it is never kept.
@pytest.mark.parametrize("keeps", [False] if connection.vendor == "mysql" else [True, False])
def test_a_session_that_is_not_to_be_kept_is_closed_after_its_block(keeps):
    session = Session(keeps=keeps)
    with session:
        Post.objects.count()
        used = connections[connection.alias]
    assert list(session._kept.values()) == ([used] if keeps else [])
    if not keeps:
        assert used.connection is None
    session.close()
    assert used.connection is None
    assert session._kept == {}


@pytest.mark.parametrize("keeps", [True, False])
def test_a_connection_that_is_used_first_in_a_block_is_not_there_after_it(keeps):
    before = connections["default"]
    del connections["default"]
    session = Session(keeps=keeps)
    try:
        with session:
            Post.objects.count()
        assert connections.all(initialized_only=True) == []
    finally:
        session.close()
        connections["default"] = before


def test_a_connection_that_stays_in_a_block_is_closed_only_if_its_transaction_is_open(monkeypatch):
    monkeypatch.setattr("django_delayed.execution.session.is_in_memory", lambda connection: True)
    connection.ensure_connection()
    around = connection.connection
    with Session():
        Post.objects.count()
    assert connection.connection is around
    with Session():
        transaction.set_autocommit(False)
        Post.objects.create(title="left open")
    assert connection.connection is None
    assert not Post.objects.exists()


def test_outside_of_a_session_the_connections_of_the_queue_are_in_force():
    connection.ensure_connection()
    queue = connections["default"]
    with Session(keeps=False) as session:
        connection.ensure_connection()
        of_the_job = connections["default"]
        with suppress(ProgrammingError), session.outside():
            assert connections["default"] is queue
            raise ProgrammingError
        assert connections["default"] is of_the_job
    assert connections["default"] is queue is not of_the_job


def test_what_is_opened_outside_of_a_session_stays_outside():
    connections["default"].close()
    del connections["default"]
    with Session(keeps=False) as session:
        with session.outside():
            connection.ensure_connection()
            queue = connections["default"]
        connection.ensure_connection()
        assert connections["default"] is not queue
    assert connections["default"] is queue


def test_outside_of_a_session_no_connection_is_made_for_a_database_that_nobody_has_used(monkeypatch):
    def aliases():
        return {one.alias for one in connections.all(initialized_only=True)} & {"default", "unused"}

    monkeypatch.setitem(connections.settings, "unused", connections.settings["default"])
    connection.ensure_connection()
    with Session(keeps=False) as session:
        Post.objects.count()
        with session.outside():
            assert aliases() == {"default"}
        assert aliases() == {"default"}
    assert aliases() == {"default"}


def test_connections_in_force_are_closed_on_demand_and_the_outer_ones_stay_open():
    connection.ensure_connection()
    around = connections["default"]
    session = Session()
    with session:
        Post.objects.count()
        used = connections["default"]
        session.disconnect()
        assert used.connection is None
    assert around.connection is not None
    session.close()


@pytest.mark.skipif(connection.vendor == "mysql", reason="keeps no session")
def test_a_session_that_is_kept_is_closed_when_a_block_takes_its_connection_away():
    session = Session()
    with session:
        Post.objects.count()
    [kept] = session._kept.values()
    with session:
        del connections["default"]
    assert kept.connection is None
    assert session._kept == {}


@pytest.mark.skipif(connection.vendor == "mysql", reason="keeps no session")
def test_a_session_that_a_block_has_closed_is_followed_by_another():
    session = Session()
    for _ in range(3):
        with session:
            assert Post.objects.count() == 0
            connections["default"].close()
    session.close()
