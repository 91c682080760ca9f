"""How an idle worker learns of new rows."""

import math
import select

import pytest
from django.db import OperationalError, connection
from django_delayed.databases import watches
from django_delayed.databases.watches import DataVersion, Looks, Notifications
from tests.blog.jobs import Plain
from tests.blog.models import Post
from tests.connections import end_connection

pytestmark = pytest.mark.django_db(transaction=True)

on_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="only PostgreSQL has notifications"
)
on_sqlite = pytest.mark.skipif(connection.vendor != "sqlite", reason="only for SQLite")


@pytest.fixture
def watch(backend):
    """The watch of this database, over the connection of the test."""
    connection.ensure_connection()
    return backend.watch(lambda: False)


@pytest.fixture
def other():
    """A second connection."""
    copy = connection.copy("default")
    yield copy
    copy.close()


def test_each_database_has_its_own_watch(watch):
    of = {"postgresql": Notifications, "sqlite": DataVersion, "mysql": Looks}
    assert type(watch) is of[connection.vendor]


def test_looks_ask_whether_a_row_is_due():
    answers = [False, True, False]
    looks = Looks(lambda: answers.pop(0))
    assert [looks.has_news() for _ in range(3)] == [False, True, False]
    assert 0 < looks.pause <= 1


def test_a_row_that_stays_due_because_others_have_locked_it_is_not_news():
    answers = [True, True, False, True]
    looks = Looks(lambda: answers.pop(0))
    looks.begin(is_one_due=True)
    assert [looks.has_news() for _ in range(4)] == [False, False, False, True]
    answers = [True, True]
    looks.begin(is_one_due=False)
    assert [looks.has_news() for _ in range(2)] == [True, False]


@on_postgresql
def test_a_server_that_has_no_second_connection_is_looked_at(backend, monkeypatch, caplog):
    def refuse(*_):
        raise OperationalError("too many connections")

    connection.ensure_connection()
    monkeypatch.setattr(Notifications, "arrive", refuse)
    with caplog.at_level("INFO", logger="django_delayed"):
        assert type(backend.watch(lambda: True)) is Looks
    assert "too many connections; the worker looks for new jobs every 0.2 s" in caplog.text


@on_sqlite
def test_a_version_is_news_when_another_connection_has_committed(watch, other):
    assert watch.has_news()  # it does not know what was committed before
    assert not watch.has_news()
    Post.objects.create(title="of this connection")
    assert not watch.has_news()
    with other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("DELETE FROM blog_post")
        assert not watch.has_news()
        cursor.execute("COMMIT")
    assert watch.has_news()
    assert not watch.has_news()


@on_sqlite
def test_a_write_of_another_connection_ends_the_sleep_and_is_looked_at_until_it_is_committed(
    watch, other, monkeypatch
):
    clock = [1000.0]
    monkeypatch.setattr("django_delayed.databases.watches.time.monotonic", lambda: clock[0])
    watch.has_news()
    clock[0] += watches.COMMITS_WITHIN
    assert watch.pause == watches.LOOK_EVERY
    with other.cursor() as cursor:
        cursor.execute("DELETE FROM blog_post")
        cursor.execute("INSERT INTO blog_post (title) VALUES ('')")
    assert select.select([watch.fd], [], [], 30)[0]
    assert watch.has_news()
    assert (watch.fd, watch.pause) == (None, watches.LOOK_AT_VERSION_EVERY)
    clock[0] += watches.COMMITS_WITHIN
    assert watch.pause == watches.LOOK_EVERY
    assert select.select([watch.fd], [], [], 0)[0] == []


@on_sqlite
def test_on_a_system_without_inotify_the_version_is_read_more_often(backend, other, monkeypatch):
    def refuse(paths):
        raise OSError("no inotify")

    monkeypatch.setattr(watches, "FileChanges", refuse)
    connection.ensure_connection()
    watch = backend.watch(lambda: False)
    watch.has_news()
    assert (watch.fd, watch.pause) == (None, watches.LOOK_AT_VERSION_EVERY)
    with other.cursor() as cursor:
        cursor.execute("INSERT INTO blog_post (title) VALUES ('')")
    assert watch.has_news()


@on_postgresql
def test_a_notification_is_news_and_so_is_the_time_after_it(watch, other, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("django_delayed.databases.watches.time.monotonic", lambda: clock[0])
    assert watch.has_news()  # it does not know what came before
    clock[0] += 2 * watches.NOTIFY_EVERY
    assert watch.has_news()
    assert not watch.has_news()
    assert watch.pause == math.inf
    with other.cursor() as cursor:
        cursor.execute("NOTIFY django_delayed")
    assert select.select([watch.fd], [], [], 30)[0]
    assert watch.has_news()
    assert not watch.has_news()
    assert watch.pause == pytest.approx(2 * watches.NOTIFY_EVERY)
    clock[0] += 2 * watches.NOTIFY_EVERY
    assert watch.has_news()
    assert not watch.has_news()
    assert watch.pause == math.inf


@on_postgresql
def test_a_notification_that_comes_with_the_answer_of_a_statement_is_news(watch, other):
    with other.cursor() as cursor:
        cursor.execute("NOTIFY django_delayed")
    assert select.select([watch.fd], [], [], 30)[0]
    assert Post.objects.count() == 0
    assert watch.has_news()


@on_postgresql
def test_a_lost_connection_is_an_error_of_the_database(watch):
    def read_on():
        # The server says why before it closes.
        while select.select([watch.fd], [], [], 30)[0]:
            watch.has_news()

    end_connection(connection)
    with pytest.raises(OperationalError):
        read_on()
    connection.close()


@on_postgresql
def test_where_no_notification_arrives_the_worker_looks_for_jobs(backend, monkeypatch, caplog):
    monkeypatch.setattr(watches, "ARRIVES_WITHIN", 0.01)
    monkeypatch.setattr(Notifications, "_read", lambda self: None)
    connection.ensure_connection()
    with caplog.at_level("INFO", logger="django_delayed"):
        assert type(backend.watch(lambda: True)) is Looks
    assert "No notifications arrive over this connection" in caplog.text
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_listening_channels()")
        assert cursor.fetchone() == (0,)


@on_postgresql
@pytest.mark.parametrize("now", [0.0, 7.0, 10.0**9])
def test_a_process_notifies_no_more_often_than_it_may(monkeypatch, now):
    clock = [now]
    monkeypatch.setattr("django_delayed.databases.watches.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(watches, "_notified_at", -math.inf)
    assert [watches.take_turn(), watches.take_turn()] == [True, False]
    clock[0] += watches.NOTIFY_EVERY * 1.01
    assert [watches.take_turn(), watches.take_turn()] == [True, False]


def test_an_enqueue_without_autocommit_is_made_although_it_cannot_notify():
    connection.set_autocommit(False)
    try:
        row = Plain.perform_later()
        connection.commit()
    finally:
        connection.set_autocommit(True)
    row.refresh_from_db()
    assert row.state == "enqueued"
