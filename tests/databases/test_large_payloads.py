"""Payloads of many megabytes are written, or refused before the server would close the connection."""

import pytest
from django.core.mail import EmailMessage
from django.db import connection, transaction
from django_delayed import SerializationError, enqueue_all
from django_delayed.databases.mysql import MySQL
from django_delayed.mail import EmailBackend, deliver_later
from django_delayed.models import DelayedJob
from tests.blog.jobs import Plain
from tests.blog.models import Post
from tests.blog.work import work_off
from tests.databases.test_statements import statements_of
from tests.mail.conftest import HAS_MAILERS

pytestmark = pytest.mark.django_db(transaction=True)

MIB = 1024 * 1024
only_on_mysql = pytest.mark.skipif(connection.vendor != "mysql", reason="has no such limit")


@pytest.fixture(autouse=True)
def sizes_of_ours(settings):
    """Set our own limits above those of the servers."""
    settings.DJANGO_DELAYED = {"MAX_ARGUMENTS_SIZE": 100 * MIB, "MAX_MAIL_SIZE": 100 * MIB}


@pytest.fixture
def limit():
    """The size of the longest statement that the server takes."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@max_allowed_packet")
        [limit] = cursor.fetchone()
    return limit


def letter(attached):
    attachment = ("a.bin", b"\xff" * attached, "image/x-raw")
    return EmailMessage("Hello", "", None, ["ada@example.com"], attachments=[attachment])


def backend():
    return EmailBackend(**({"alias": "default", "mailer": "smtp"} if HAS_MAILERS else {}))


TOO_LARGE = {
    "a mail of 12 MiB": lambda: deliver_later(letter(12 * MIB)),
    "a mail of 18 MiB": lambda: deliver_later(letter(18 * MIB)),
    "a mail through the backend": lambda: backend().send_messages([letter(1), letter(13 * MIB)]),
    "a text": lambda: Plain.perform_later("x" * 16 * MIB),
    "a text of quotes, each of which is escaped twice": lambda: Plain.perform_later('"' * 6 * MIB),
    "a text of apostrophes, each of which is escaped": lambda: Plain.perform_later("'" * 9 * MIB),
    "bytes": lambda: Plain.perform_later(b"\0" * 12 * MIB),
    "one of many jobs": lambda: enqueue_all([Plain(1), Plain("x" * 17 * MIB), Plain(2)]),
}


@only_on_mysql
@pytest.mark.parametrize("enqueue", TOO_LARGE.values(), ids=TOO_LARGE)
@pytest.mark.parametrize("mode", ["transaction", "on_commit", "immediate"])
def test_what_the_server_would_refuse_is_refused_and_the_callers_transaction_goes_on(
    enqueue, mode, settings, limit
):
    assert limit <= 16 * MIB
    settings.DJANGO_DELAYED |= {"ENQUEUE": mode}
    session = connection.connection
    with transaction.atomic():
        Post.objects.create(title="before")
        with pytest.raises(SerializationError, match=rf"takes at most {limit:,} \(max_allowed_packet\)"):
            enqueue()
        Plain.perform_later("after")
    assert connection.connection is session
    assert Post.objects.get().title == "before"
    assert DelayedJob.objects.count() == 1


@only_on_mysql
@pytest.mark.parametrize("character", ["x", '"', "'", "\\", "ü"])
def test_what_is_just_below_the_limit_is_written_and_performed(character, limit, diary):
    stored = {"x": 1, '"': 4, "'": 2, "\\": 4, "ü": 7}[character]
    text = character * ((limit - 4096) // stored)
    Plain.perform_later(text)
    work_off()
    assert diary == [("plain", (text,), {})]
    with pytest.raises(SerializationError, match="max_allowed_packet"):
        Plain.perform_later(text + character * (4096 // stored))
    assert not DelayedJob.objects.exists()


@pytest.mark.skipif(connection.vendor == "mysql", reason="has a limit")
def test_without_a_limit_of_the_server_a_large_mail_is_written(mailoutbox):
    deliver_later(letter(13 * MIB))
    work_off()
    [message] = mailoutbox
    assert len(message.attachments[0].content) == 13 * MIB


def test_jobs_that_are_large_together_are_written_in_several_statements(diary):
    texts = [character * 3 * MIB for character in "abcdefgh"]
    statements, rows = statements_of(lambda: enqueue_all([Plain(text) for text in texts]))
    kinds = [sql.split()[0] for sql in statements if "max_allowed_packet" not in sql]
    # On PostgreSQL, a NOTIFY after the commit wakes the workers.
    assert [kind for kind in kinds if kind != "NOTIFY"] == ["INSERT"] * 8
    assert len({row.pk for row in rows}) == 8
    work_off()
    assert [args for _, args, _ in diary] == [(text,) for text in texts]


@only_on_mysql
def test_no_statement_is_longer_than_the_limit_of_the_server(monkeypatch):
    limit = 1 * MIB
    monkeypatch.setattr(MySQL, "longest_statement", lambda self: limit)
    written = []

    def measure(execute, sql, params, many, context):
        if sql.startswith("INSERT"):
            literals = tuple(context["cursor"].connection.literal(param) for param in params)
            written.append(len(sql.encode() % literals))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(measure):
        enqueue_all([Plain("'" * (n * 1000)) for n in range(100)])
    assert DelayedJob.objects.count() == 100
    assert len(written) > 8
    assert max(written) <= limit
    # They are not much shorter either.
    assert sum(written) / len(written) > limit / 2


@only_on_mysql
def test_the_server_is_asked_for_its_limit_once_a_connection_and_only_about_large_jobs():
    connection.close()
    asked = "SELECT @@max_allowed_packet"
    statements, _ = statements_of(lambda: enqueue_all([Plain(n) for n in range(1000)]))
    assert len(statements) == 1
    for expected in ([asked, "INSERT"], ["INSERT"]):
        statements, _ = statements_of(lambda: Plain.perform_later("x" * MIB))
        assert [sql if sql == asked else sql.split()[0] for sql in statements] == expected
    connection.close()
    statements, _ = statements_of(lambda: Plain.perform_later("x" * MIB))
    assert statements[0] == asked


@pytest.mark.skipif(connection.vendor == "mysql", reason="has a limit")
def test_no_server_without_a_limit_is_asked_for_one():
    statements, _ = statements_of(lambda: Plain.perform_later("x" * MIB))
    assert [sql.split()[0] for sql in statements] == ["INSERT"]
