import json
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_delayed.admin import downloads
from django_delayed.models import DelayedJob, FailureGroup
from django_delayed.states import State
from tests.admin.pages import said

HOUR = timedelta(hours=1)


@pytest.fixture
def of_cause(cause_page):
    """The address of a page about the cause of these tests."""
    return lambda name="cause", value="c1", **query: cause_page(of=name, cause=value, **query)


@pytest.fixture
def writer(operator, client, staff):
    """The test client, signed in as a user who may write notes."""
    client.force_login(staff("view_delayedjob", "note_failuregroup"))
    return client


def test_the_page_says_what_failed_when_and_where(operator, of_cause, job, failed_attempt, worker):
    now = timezone.now()
    for number, queue in enumerate(["mail", "mail", "index"]):
        row = job(error_fingerprint="c1", queue=queue, failed_at=now - number * 2 * HOUR)
        failed_attempt(
            row, hostname=worker.hostname if number else "web-9", worker=worker.pk if number else "x"
        )
    job(error_fingerprint="c2", queue="other")
    response = operator.get(of_cause())
    assert response.context["queues"] == [("mail", 2), ("index", 1)]
    assert response.context["places"] == [("web-2", "web-2:77", 2), ("web-9", "x", 1)]
    for words in [
        "ConnectionError: the server hung up",
        "shop/twitter.py, in update",
        "Post.send_to_twitter",
    ]:
        assert words in response.text
    assert "Retry 3 jobs" in response.text
    assert "other" not in response.context["queues"]


def test_the_page_of_a_cause_with_many_jobs_says_how_many_it_looked_at(
    operator, of_cause, job, failed_attempt, monkeypatch
):
    for module in ("stats", "stats.failures"):
        monkeypatch.setattr(f"django_delayed.{module}.NEWEST", 2)
    monkeypatch.setattr("django_delayed.admin.cause_page.MOST_JOBS", 1)
    for _ in range(3):
        failed_attempt(job(error_fingerprint="c1"), hostname="web-1")
    response = operator.get(of_cause())
    assert "Download the newest 1 as JSON lines" in response.text
    assert "These numbers are about the 2 jobs that failed last." in response.text
    assert response.context["places"] == [("web-1", "w" * 32, 2)]


def test_the_number_of_queries_does_not_depend_on_the_number_of_jobs(operator, of_cause, job, failed_attempt):
    failed_attempt(job(error_fingerprint="c1"))
    with CaptureQueriesContext(connection) as few:
        operator.get(of_cause())
    for number in range(30):
        row = job(error_fingerprint="c1", queue=f"queue {number}")
        failed_attempt(row, hostname=f"web-{number}", worker=f"w{number}")
    with CaptureQueriesContext(connection) as many:
        operator.get(of_cause())
    assert len(many) == len(few) <= 12


@pytest.mark.parametrize("value", ["", "gone", "\0", "a\0b"])
@pytest.mark.parametrize("name", ["cause", "note"])
def test_an_unknown_cause_redirects_to_the_list_of_causes(writer, cause_page, of_cause, name, value):
    response = (writer.post if name == "note" else writer.get)(of_cause(name, value), {"note": "x"})
    assert response.url == cause_page()
    assert said(response) == ["No job has failed for this cause."]
    assert not FailureGroup.objects.exists()


def test_a_cause_without_a_fingerprint_has_a_page(operator, of_cause, job):
    job(error_fingerprint="", error_class="", error_message="", last_error="")
    assert "unknown" in operator.get(of_cause(value="none")).text


def test_a_cause_that_is_settled_keeps_its_page(operator, of_cause):
    now = timezone.now()
    FailureGroup.objects.create(
        fingerprint="c1", first_seen_at=now, settled_at=now, settled_by="ann", note="fixed", noted_by="bob"
    )
    text = operator.get(of_cause()).text
    for words in ["No job that failed for this cause is left.", "fixed", "Cause c1"]:
        assert words in text
    assert "Retry one" not in text


def test_an_entry_of_the_log_links_to_the_cause(operator, cause_page):
    response = operator.get(cause_page("a/b_2Fc", of="change"))
    assert response.url == cause_page(of="cause", cause="a/b/c")


# Notes


def test_a_note_is_written_with_its_author_and_an_entry_in_the_log(writer, of_cause, job):
    job(error_fingerprint="c1", failed_at=timezone.now() - HOUR)
    response = writer.post(of_cause("note"), {"note": "known,\nfix in #123"})
    assert response.url == of_cause()
    assert said(response) == ["The note was written."]
    group = FailureGroup.objects.get()
    assert group.note.splitlines() == ["known,", "fix in #123"]
    assert group.noted_by == "view_delayedjob-note_failuregroup"
    assert group.first_seen_at == DelayedJob.objects.get().failed_at
    text = writer.get(of_cause()).text
    assert "known,<br>fix in #123" in text
    assert "by view_delayedjob-note_failuregroup" in text
    entry = LogEntry.objects.get()
    assert entry.change_message.startswith("note: known,")
    assert entry.get_admin_url().endswith("/failuregroup/c1/change/")


def test_a_note_can_be_removed(writer, of_cause, job):
    job(error_fingerprint="c1")
    writer.post(of_cause("note"), {"note": "no"})
    writer.post(of_cause("note"), {})
    assert FailureGroup.objects.get().note == ""


@pytest.mark.parametrize("note", ["x" * 1_000_000, "x" * 2001, "a\0b"], ids=len)
def test_a_note_that_cannot_be_stored_is_refused(writer, of_cause, job, note):
    job(error_fingerprint="c1")
    response = writer.post(of_cause("note"), {"note": note})
    assert response.status_code == 200
    assert 'class="errorlist"' in response.text
    assert not FailureGroup.objects.exists()
    assert not LogEntry.objects.exists()


def test_a_get_of_the_address_of_a_note_is_refused(writer, of_cause):
    assert writer.get(of_cause("note")).status_code == 405


def test_markup_in_a_note_is_escaped(writer, of_cause, job):
    job(error_fingerprint="c1")
    writer.post(of_cause("note"), {"note": "<script>alert(1)</script>"})
    assert "<script>alert" not in writer.get(of_cause()).text


# Download


def lines_of(response):
    return [json.loads(line) for line in response.getvalue().decode().splitlines()]


def test_the_failed_jobs_of_a_cause_are_downloaded(operator, of_cause, job, monkeypatch):
    monkeypatch.setattr(downloads, "JOBS_A_BATCH", 2)
    now = timezone.now()
    rows = [job(error_fingerprint="c1", failed_at=now - number * HOUR) for number in range(5)]
    job(error_fingerprint="c2")
    job(State.RETRYING, error_fingerprint="c1")
    response = operator.get(of_cause("download"))
    assert response["Content-Type"] == "application/x-ndjson"
    assert response["Content-Disposition"] == 'attachment; filename="failed_jobs.jsonl"'
    lines = lines_of(response)
    assert [line["id"] for line in lines] == [row.pk for row in rows]
    assert lines[0] == {
        "id": rows[0].pk,
        "name": "Post.send_to_twitter",
        "about": rows[0].about,
        "queue": "default",
        "priority": 0,
        "created_at": rows[0].created_at.isoformat(),
        "run_at": rows[0].run_at.isoformat(),
        "failed_at": now.isoformat(),
        "attempts": 25,
        "max_attempts": 25,
        "crashes": 0,
        "error_class": "ConnectionError",
        "error_message": "the server hung up",
        "error_fingerprint": "c1",
        "last_error": rows[0].last_error,
        "payload": rows[0].payload,
    }


def test_only_users_who_may_view_arguments_download_the_payload(client, staff, of_cause, job):
    job(error_fingerprint="c1")
    client.force_login(staff("view_delayedjob"))
    [line] = lines_of(client.get(of_cause("download")))
    assert "payload" not in line
    client.force_login(staff("retry_delayedjob"))
    assert client.get(of_cause("download")).status_code == 403


def test_secrets_are_masked_in_the_download_too(operator, of_cause, job):
    payload = json.dumps({"job": "a:B", "args": [[{"password": "s3cret"}]], "kwargs": {"to": "ada"}})
    job(error_fingerprint="c1", payload=payload)
    [line] = lines_of(operator.get(of_cause("download")))
    assert "s3cret" not in line["payload"]
    assert json.loads(line["payload"])["kwargs"] == {"to": "ada"}


def test_no_more_than_ten_thousand_jobs_are_downloaded(operator, of_cause, job, monkeypatch):
    monkeypatch.setattr(downloads, "MOST_JOBS", 2)
    now = timezone.now()
    rows = [job(error_fingerprint="c1", failed_at=now - number * HOUR) for number in range(3)]
    assert [line["id"] for line in lines_of(operator.get(of_cause("download")))] == [rows[0].pk, rows[1].pk]


@pytest.mark.parametrize("value", ["", "gone", "\0"])
def test_the_download_of_an_unknown_cause_is_empty(operator, of_cause, value):
    assert operator.get(of_cause("download", value)).getvalue() == b""


def test_hostile_texts_are_downloaded_unchanged(operator, of_cause, job):
    evil = '\u2028\u202e</script>\n\r"\\'
    job(error_fingerprint="c1", name=evil, last_error=evil, payload="[" * 10_000)
    body = operator.get(of_cause("download")).getvalue()
    [line] = lines_of(operator.get(of_cause("download")))
    assert body.count(b"\n") == 1
    assert (line["name"], line["last_error"]) == (evil, evil)
