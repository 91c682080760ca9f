import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_delayed.admin import causes
from django_delayed.models import DelayedJob
from django_delayed.serialization.errors import describe
from django_delayed.states import State

HOUR = timedelta(hours=1)


def said(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


def hidden_fields(response):
    """What the form of a confirmation page sends."""
    return dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', response.text))


def lines(response):
    """The lines of the table of causes as texts."""
    body = response.text.partition("<tbody>")[2].partition("</tbody>")[0]
    return [re.sub(r"[ \n]+", " ", re.sub("<[^>]*>", " ", line)) for line in body.split("<tr>")[1:]]


@pytest.fixture
def cause(job):
    """Write some failed jobs that have this cause."""
    return lambda given, number=1, **columns: [job(error_fingerprint=given, **columns) for _ in range(number)]


@pytest.fixture
def answer(operator):
    """Say yes on the page that asks."""
    return lambda question: operator.post(question.wsgi_request.get_full_path(), hidden_fields(question))


def fetch(url):
    raise ConnectionError(f"no answer from '{url}'")


def error_columns(url, name):
    try:
        fetch(url)
    except ConnectionError as error:
        return describe(error, name).columns


def test_failures_of_one_cause_are_one_line(operator, page, job):
    now = timezone.now()
    for number in range(3):
        columns = error_columns(f"http://a/{number}", "Feed.fetch") | {"name": "Feed.fetch"}
        job(queue=f"feeds-{number}", failed_at=now - (number + 2) * HOUR, **columns)
    job(name="Other.fetch", **error_columns("http://b", "Other.fetch"))
    [feed, other] = lines(operator.get(page(of="causes")))
    for words in ["ConnectionError: no answer from", "admin/test_causes.py, in fetch", "Feed.fetch"]:
        assert words in feed
    for words in ["feeds-0, feeds-1, feeds-2", " 3 ", "4\xa0hours ago", "2\xa0hours ago", "Retry 3 jobs"]:
        assert words in feed
    assert "Other.fetch" in other
    assert "Discard 1 job" in other


def test_without_failed_jobs_the_page_says_so(operator, page, job):
    job(State.RETRYING, error_fingerprint="c1")
    text = operator.get(page(of="causes")).text
    assert "No job has failed." in text
    assert "<tbody>" not in text.partition('id="content"')[2]


def test_the_list_leads_to_the_causes_and_each_cause_to_its_jobs(operator, page, cause):
    rows = cause("c1", 2)
    cause("c2")
    assert f'href="{page(of="causes")}"' in operator.get(page()).text
    assert f'href="{page(cause="c1")}"' in operator.get(page(of="causes")).text
    assert {row.pk for row in operator.get(page(cause="c1")).context["cl"].result_list} == {
        row.pk for row in rows
    }


def test_one_job_of_a_cause_is_retried_without_a_question_and_its_page_opens(operator, page, cause):
    now = timezone.now()
    [older] = cause("c1", failed_at=now - HOUR)
    [newest] = cause("c1", failed_at=now)
    cause("c2")
    response = operator.post(page(of="retry_one", cause="c1"))
    assert response.url == page(newest.pk, of="change")
    assert said(response) == ["1 job retried."]
    assert list(DelayedJob.objects.enqueued()) == [newest]
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.change_message) == (str(newest.pk), f"retry: 1 of 1: {newest.pk}")
    assert older.pk in DelayedJob.objects.failed().values_list("pk", flat=True)


def test_what_became_of_that_job_can_be_seen_for_an_hour(operator, page, cause):
    cause("c1", 4)
    address = operator.post(page(of="retry_one", cause="c1")).url
    assert "It has not been performed yet." in operator.get(address).text
    [held] = DelayedJob.objects.claim("w")
    assert "It is being performed." in operator.get(address).text
    assert DelayedJob.objects.finish(held)
    text = operator.get(address).text
    assert "It passed." in text
    assert "3 other jobs failed for the same cause." in text
    assert f'href="{page(of="retry_cause", cause="c1")}">Retry the other 3 jobs' in text
    assert f'href="{page(of="discard_cause", cause="c1")}">Discard the other 3 jobs' in text
    held.refresh_from_db()
    assert held.expires_at - held.finished_at == HOUR


def test_a_failed_job_names_the_number_of_others_and_leaves_them_to_their_page(operator, page, cause):
    [row, *_] = cause("c1", 2)
    cause("c2", 3)
    text = operator.get(page(row.pk, of="change")).text
    assert "1 other job failed for the same cause." in text
    assert "Retry the other" not in text


def test_a_job_that_failed_alone_says_so(operator, page, cause):
    [row] = cause("c1")
    assert "No other job failed for the same cause." in operator.get(page(row.pk, of="change")).text


@pytest.mark.parametrize(("name", "left"), [("retry_cause", 6), ("discard_cause", 3)])
def test_all_jobs_of_a_cause_are_moved_after_a_question(operator, page, cause, job, answer, name, left):
    cause("c1", 3)
    others = [*cause("c2"), job(State.RETRYING, error_fingerprint="c1"), job()]
    question = operator.get(page(of=name, cause="c1"))
    assert "3" in question.context["title"]
    assert "Chosen by the filter cause=c1, up to this moment" in question.text
    assert DelayedJob.objects.failed().count() == 5
    response = answer(question)
    assert response.url == page(of="causes")
    assert said(response)[-1].startswith("3 jobs ")
    assert DelayedJob.objects.failed().count() == 2
    assert DelayedJob.objects.count() == left
    assert {row.pk for row in others} <= set(DelayedJob.objects.values_list("pk", flat=True))
    assert "3 of 3 where cause=c1 as of" in LogEntry.objects.get().change_message
    assert set(DelayedJob.objects.values_list("keep_for", flat=True)) == {None}


def test_a_job_that_fails_for_the_cause_after_the_question_is_left_alone(operator, page, cause, answer):
    cause("c1", 2)
    question = operator.get(page(of="discard_cause", cause="c1"))
    later = cause("c1", failed_at=timezone.now() + HOUR)
    assert said(answer(question))[-1] == "2 jobs discarded."
    assert list(DelayedJob.objects.all()) == later


@pytest.mark.parametrize("fingerprint", ["", "a/b?c&d<e", "unreadable row"])
def test_any_fingerprint_is_a_cause(operator, page, cause, answer, fingerprint):
    cause(fingerprint, 2)
    text = operator.get(page(of="causes")).text
    [address] = re.findall(r'href="([^"]*/causes/discard/[^"]*)"', text)
    answer(operator.get(address.replace("&amp;", "&")))
    assert not DelayedJob.objects.exists()


@pytest.mark.parametrize("value", [None, "", "gone", "\0", "a\0b"])
@pytest.mark.parametrize("name", ["retry_one", "retry_cause", "discard_cause"])
def test_a_cause_that_is_not_there_leads_to_the_causes(operator, page, cause, name, value):
    cause("c1")
    address = page(of=name) if value is None else page(of=name, cause=value)
    response = operator.post(address)
    assert response.url == page(of="causes")
    assert said(response)[0].startswith("Nothing to ")
    assert DelayedJob.objects.failed().count() == 1


def test_a_look_at_the_address_of_a_move_is_refused(operator, page, cause):
    cause("c1")
    assert operator.get(page(of="retry_one", cause="c1")).status_code == 405
    assert DelayedJob.objects.failed().count() == 1


def test_only_the_largest_causes_are_shown(operator, page, cause, monkeypatch):
    monkeypatch.setattr(causes, "MOST_CAUSES", 2)
    for name, number in [("c1", 1), ("c2", 3), ("c3", 2)]:
        cause(name, number, name=name)
    response = operator.get(page(of="causes"))
    assert [line.split()[-2] for line in lines(response)] == ["3", "2"]
    assert "These are the 2 of which the most jobs failed." in response.text


def test_a_cause_without_an_error_can_be_opened(operator, page, cause):
    cause("", error_class="", error_message="", last_error="")
    assert "unknown" in lines(operator.get(page(of="causes")))[0]


def test_a_job_that_is_gone_before_its_line_is_written_leaves_no_line(operator, page, cause, monkeypatch):
    cause("c1")
    found = causes.stats.causes(10)
    DelayedJob.objects.all().delete()
    monkeypatch.setattr(causes.stats, "causes", lambda most: found)
    assert operator.get(page(of="causes")).status_code == 200


def test_the_page_costs_the_same_queries_for_many_causes(operator, page, cause):
    cause("c1")
    with CaptureQueriesContext(connection) as few:
        operator.get(page(of="causes"))
    for number in range(30):
        cause(f"c{number}", 2, queue=f"queue-{number}")
    with CaptureQueriesContext(connection) as many:
        operator.get(page(of="causes"))
    assert len(many) == len(few) <= 12


def test_what_an_error_says_cannot_become_markup(operator, page, cause):
    evil = "<script>alert(1)</script>"
    frame = f'Traceback (most recent call last):\n  File "{evil}", line 1, in {evil}'
    error = {"error_class": evil, "error_message": evil, "last_error": f"{evil}\n\n{frame}"}
    cause("c1", name=evil, queue=evil, **error)
    assert "<script>alert" not in operator.get(page(of="causes")).text
