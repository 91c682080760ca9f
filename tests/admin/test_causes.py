import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_delayed.admin import causes
from django_delayed.models import DelayedJob, FailureGroup
from django_delayed.serialization.errors import describe
from django_delayed.states import CANCELLED, State
from tests.admin.pages import said

HOUR = timedelta(hours=1)


def lines(response):
    """The text of each line in the table of causes."""
    body = response.text.partition("<tbody>")[2].partition("</tbody>")[0]
    return [re.sub(r"[ \n]+", " ", re.sub("<[^>]*>", " ", line)) for line in body.split("<tr>")[1:]]


@pytest.fixture
def cause(job):
    """Write some failed jobs that have this cause."""
    return lambda given, number=1, **columns: [job(error_fingerprint=given, **columns) for _ in range(number)]


def fetch(url):
    raise ConnectionError(f"no answer from '{url}'")


def error_columns(url, name):
    try:
        fetch(url)
    except ConnectionError as error:
        return describe(error, name).columns


def test_failures_of_one_cause_are_one_line(operator, cause_page, job):
    now = timezone.now()
    for number in range(3):
        columns = error_columns(f"http://a/{number}", "Feed.fetch") | {"name": "Feed.fetch"}
        job(queue=f"feeds-{number}", failed_at=now - (number + 2) * HOUR, **columns)
    job(name="Other.fetch", **error_columns("http://b", "Other.fetch"))
    [feed, other] = lines(operator.get(cause_page()))
    for words in ["ConnectionError: no answer from", "admin/test_causes.py, in fetch", "Feed.fetch"]:
        assert words in feed
    for words in ["feeds-0, feeds-1, feeds-2", " 3 ", "4\xa0hours ago", "2\xa0hours ago", "Retry 3 jobs"]:
        assert words in feed
    assert "Other.fetch" in other
    assert "Discard 1 job" in other


def test_without_failed_jobs_the_page_says_so(operator, cause_page, job):
    job(State.RETRYING, error_fingerprint="c1")
    text = operator.get(cause_page()).text
    assert "No job has failed." in text
    assert "<tbody>" not in text.partition('id="content"')[2]


def test_the_list_links_to_the_causes_and_each_cause_to_its_jobs(operator, page, cause_page, cause):
    rows = cause("c1", 2)
    cause("c2")
    assert f'href="{cause_page()}"' in operator.get(page()).text
    assert f'href="{page(cause="c1")}"' in operator.get(cause_page()).text
    assert {row.pk for row in operator.get(page(cause="c1")).context["cl"].result_list} == {
        row.pk for row in rows
    }


def test_one_job_of_a_cause_is_retried_without_a_question_and_its_page_opens(
    operator, page, cause_page, cause
):
    now = timezone.now()
    [older] = cause("c1", failed_at=now - HOUR)
    [newest] = cause("c1", failed_at=now)
    cause("c2")
    response = operator.post(cause_page(of="retry_one", cause="c1"))
    assert response.url == page(newest.pk, of="change")
    assert said(response) == ["1 job retried."]
    assert list(DelayedJob.objects.enqueued()) == [newest]
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.change_message) == (str(newest.pk), f"retry: 1 of 1: {newest.pk}")
    assert older.pk in DelayedJob.objects.failed().values_list("pk", flat=True)


def test_the_one_job_that_was_retried_is_kept_for_an_hour_after_it_finished(operator, cause_page, cause):
    cause("c1", 4)
    address = operator.post(cause_page(of="retry_one", cause="c1")).url
    assert "It has not been performed yet." in operator.get(address).text
    [held] = DelayedJob.objects.claim("w")
    assert "It is being performed." in operator.get(address).text
    assert DelayedJob.objects.finish(held)
    text = operator.get(address).text
    assert "It passed." in text
    assert "3 other jobs failed for the same cause." in text
    assert f'href="{cause_page(of="retry", cause="c1")}">Retry the other 3 jobs' in text
    assert f'href="{cause_page(of="discard", cause="c1")}">Discard the other 3 jobs' in text
    held.refresh_from_db()
    assert held.expires_at - held.finished_at == HOUR


def test_the_page_of_a_failed_job_counts_the_others_of_its_cause_and_offers_to_move_none(
    operator, page, cause
):
    [row, *_] = cause("c1", 2)
    cause("c2", 3)
    text = operator.get(page(row.pk, of="change")).text
    assert "1 other job failed for the same cause." in text
    assert "Retry the other" not in text


def test_the_page_of_a_job_that_failed_alone_says_so(operator, page, cause):
    [row] = cause("c1")
    assert "No other job failed for the same cause." in operator.get(page(row.pk, of="change")).text


@pytest.mark.parametrize(("name", "left"), [("retry", 6), ("discard", 3)])
def test_all_jobs_of_a_cause_are_moved_after_a_question(operator, cause_page, cause, job, answer, name, left):
    cause("c1", 3)
    others = [*cause("c2"), job(State.RETRYING, error_fingerprint="c1"), job()]
    question = operator.get(cause_page(of=name, cause="c1"))
    assert "3" in question.context["title"]
    assert "Chosen by the filter cause=c1, up to this moment" in question.text
    assert DelayedJob.objects.failed().count() == 5
    response = answer(question)
    assert response.url == cause_page()
    assert said(response)[-1].startswith("3 jobs ")
    assert DelayedJob.objects.failed().count() == 2
    assert DelayedJob.objects.count() == left
    assert {row.pk for row in others} <= set(DelayedJob.objects.values_list("pk", flat=True))
    assert "3 of 3 where cause=c1 as of" in LogEntry.objects.get().change_message
    assert set(DelayedJob.objects.values_list("keep_for", flat=True)) == {None}


def test_a_job_that_fails_for_the_cause_after_the_question_is_left_alone(operator, cause_page, cause, answer):
    cause("c1", 2)
    question = operator.get(cause_page(of="discard", cause="c1"))
    later = cause("c1", failed_at=timezone.now() + HOUR)
    assert said(answer(question))[-1] == "2 jobs discarded."
    assert list(DelayedJob.objects.all()) == later


@pytest.mark.parametrize("fingerprint", ["", "a/b?c&d<e", "unreadable row"])
def test_a_cause_may_have_any_fingerprint(operator, cause_page, cause, answer, fingerprint):
    cause(fingerprint, 2)
    text = operator.get(cause_page()).text
    [address] = re.findall(r'href="([^"]*/failuregroup/discard/[^"]*)"', text)
    answer(operator.get(address.replace("&amp;", "&")))
    assert not DelayedJob.objects.exists()


@pytest.mark.parametrize("value", [None, "", "gone", "\0", "a\0b"])
@pytest.mark.parametrize("name", ["retry_one", "retry", "discard"])
def test_a_move_of_an_unknown_cause_redirects_to_the_list_of_causes(operator, cause_page, cause, name, value):
    cause("c1")
    address = cause_page(of=name) if value is None else cause_page(of=name, cause=value)
    response = operator.post(address)
    assert response.url == cause_page()
    assert said(response)[0].startswith("Nothing to ")
    assert DelayedJob.objects.failed().count() == 1


def test_a_get_of_the_address_of_a_move_is_refused(operator, cause_page, cause):
    cause("c1")
    assert operator.get(cause_page(of="retry_one", cause="c1")).status_code == 405
    assert DelayedJob.objects.failed().count() == 1


def test_only_the_largest_causes_are_shown(operator, cause_page, cause, monkeypatch):
    monkeypatch.setattr(causes, "MOST_CAUSES", 2)
    for name, number in [("c1", 1), ("c2", 3), ("c3", 2)]:
        cause(name, number, name=name)
    response = operator.get(cause_page())
    assert [line.counts[0][0] for line in response.context["lines"]] == [3, 2]
    assert "These are the first 2." in response.text


def test_a_cause_without_an_error_can_be_opened(operator, cause_page, cause):
    cause("", error_class="", error_message="", last_error="")
    assert "unknown" in lines(operator.get(cause_page()))[0]


def test_a_job_that_is_gone_before_its_line_is_written_causes_no_error(
    operator, cause_page, cause, monkeypatch
):
    cause("c1")
    found = causes.stats.causes(10)
    DelayedJob.objects.all().delete()
    monkeypatch.setattr(causes.stats, "causes", lambda *_: found)
    assert operator.get(cause_page()).status_code == 200


def test_the_number_of_queries_does_not_depend_on_the_number_of_causes(operator, cause_page, cause):
    cause("c1")
    with CaptureQueriesContext(connection) as few:
        operator.get(cause_page())
    for number in range(30):
        cause(f"c{number}", 2, queue=f"queue-{number}")
    with CaptureQueriesContext(connection) as many:
        operator.get(cause_page())
    assert len(many) == len(few) <= 12


def test_markup_in_an_error_is_escaped(operator, cause_page, cause):
    evil = "<script>alert(1)</script>"
    frame = f'Traceback (most recent call last):\n  File "{evil}", line 1, in {evil}'
    error = {"error_class": evil, "error_message": evil, "last_error": f"{evil}\n\n{frame}"}
    cause("c1", name=evil, queue=evil, **error)
    assert "<script>alert" not in operator.get(cause_page()).text


def ago(**age):
    return timezone.now() - timedelta(**age)


def test_each_count_links_to_its_jobs_with_the_date_filter_filled_in(operator, cause_page, cause):
    for age in [{"minutes": 5}, {"hours": 5}, {"days": 5}, {"days": 50}]:
        cause("c1", failed_at=ago(**age))
    cause("c2")
    causes_page = operator.get(cause_page())
    [line] = [line for line in causes_page.context["lines"] if "c1" in line.query]
    assert [number for number, _ in line.counts] == [4, 1, 2, 3]
    for number, query in line.counts:
        assert f"?{query.replace('&', '&amp;')}" in causes_page.text
        response = operator.get(f"{reverse('admin:django_delayed_delayedjob_changelist')}?{query}")
        changelist = response.context["cl"]
        assert changelist.result_count == number
        [form] = [spec.form for spec in changelist.filter_specs if spec.title == "failed at"]
        assert form.is_bound == ("failed_at" in query)
        if form.is_bound:
            begin = form.cleaned_data["failed_at__range__gte"]
            assert f'value="{begin:%Y-%m-%d}"' in response.text
            assert f'value="{begin:%H:%M:%S}"' in response.text


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/St_Johns"])
def test_the_range_is_in_the_time_zone_of_the_site(operator, cause_page, cause, settings, zone):
    settings.TIME_ZONE = zone
    timezone.get_default_timezone.cache_clear()
    for age in [{"minutes": 59}, {"minutes": 61}]:
        cause("c1", failed_at=ago(**age))
    [line] = operator.get(cause_page()).context["lines"]
    for number, query in line.counts[:2]:
        response = operator.get(f"{reverse('admin:django_delayed_delayedjob_changelist')}?{query}")
        assert response.context["cl"].result_count == number


def test_the_failures_of_each_day_are_drawn_with_a_title(operator, cause_page, cause):
    cause("c1", 3, failed_at=ago(hours=1))
    cause("c1", 2, failed_at=ago(days=2, hours=1))
    text = operator.get(cause_page()).text
    assert "<title>Failed jobs a day, up to now: 0, 0, 0, 0, 2, 0, 3</title>" in text
    assert 'x="60" y="0" width="8" height="20"' in text


def badges(response):
    return [re.sub("<[^>]*>", "", line.badge) for line in response.context["lines"]]


def test_a_cause_is_new_for_a_day(operator, cause_page, cause):
    cause("c1", failed_at=ago(hours=23))
    cause("c1", failed_at=ago(hours=22))
    cause("c2", failed_at=ago(hours=23))
    cause("c2", failed_at=ago(hours=25))
    assert sorted(badges(operator.get(cause_page()))) == ["", "new"]
    # The first job of this cause is gone, but the time of its failure is known.
    FailureGroup.objects.create(fingerprint="c1", first_seen_at=ago(days=3))
    assert badges(operator.get(cause_page())) == ["", ""]


def test_a_cause_is_back_again_when_a_job_fails_after_all_were_moved(operator, cause_page, cause, answer):
    cause("c1", 2, failed_at=ago(days=3))
    answer(operator.get(cause_page(of="retry", cause="c1")))
    assert operator.get(cause_page()).context["lines"] == []
    DelayedJob.objects.all().delete()
    cause("c1", failed_at=timezone.now() + HOUR)
    assert badges(operator.get(cause_page())) == ["back again"]
    text = operator.get(cause_page(of="cause", cause="c1")).text
    assert "back again" in text
    group = FailureGroup.objects.get()
    assert "Last job retried or discarded" in text
    assert f"by {group.settled_by}" in text
    assert group.settled_by.startswith("view_delayedjob")


def test_the_newest_traceback_is_shown_with_the_frames_of_the_application_and_with_all(
    operator, cause_page, cause
):
    begin = "E: no\n\nTraceback (most recent call last):\n"
    foreign = '  File "/v/site-packages/a/b.py", line 1, in c\n    d()\n'
    own = '  File "/srv/shop/feed.py", line 7, in fetch\n    get(url)\n'
    cause("c1", last_error=f"{begin}{foreign}{own}E: no")
    cause("c2", last_error=f"{begin}{own}E: no")
    cause("c3", last_error="")
    lines = {line.query: line for line in operator.get(cause_page()).context["lines"]}
    short, whole = lines["cause=c1"].error_texts
    assert "b.py" not in short
    assert "b.py" in whole
    assert "feed.py" in short
    assert "feed.py" in whole
    assert len(lines["cause=c2"].error_texts) == 1
    assert lines["cause=c3"].error_texts == []
    text = operator.get(cause_page(of="cause", cause="c1")).text
    assert text.index("Newest traceback, frames of the application") < text.index("All frames")


def test_the_list_stays_small_where_tracebacks_are_long(operator, cause_page, cause):
    begin = 'E: no\n\nTraceback (most recent call last):\n  File "/srv/shop/feed.py", line 7, in fetch\n'
    for number in range(50):
        cause(f"c{number}", last_error=begin + "    x\n" * 10_000 + "E: no")
    assert len(operator.get(cause_page()).content) < 1_000_000
    assert len(operator.get(cause_page(of="cause", cause="c1")).content) > 50_000


def test_retrying_jobs_are_shown_on_demand(operator, page, cause_page, cause, job):
    cause("c1", 2)
    for _ in range(3):
        job(State.RETRYING, error_fingerprint="c1")
    job(State.RETRYING, error_fingerprint="c2", name="Only.retrying", queue="slow")
    job(State.FAILED, error_fingerprint=CANCELLED)
    job(State.RETRYING, error_fingerprint=CANCELLED)
    response = operator.get(cause_page())
    assert "Only.retrying" not in response.text
    assert f'href="{cause_page(by="jobs", retrying="too").replace("&", "&amp;")}"' in response.text
    response = operator.get(cause_page(retrying="too"))
    failed, retrying = response.context["lines"]
    assert (failed.counts[0][0], failed.retrying) == (2, 3)
    assert (retrying.counts, retrying.retrying, [*retrying.queues]) == ([], 1, ["slow"])
    assert retrying.moves == []
    listed = operator.get(f"{page()}?{failed.retrying_query}").context["cl"]
    assert {row.state for row in listed.result_list} == {State.RETRYING}
    assert listed.result_count == 3
    assert len(lines(response)) == 2


@pytest.mark.parametrize(
    ("by", "first"), [("", "c1"), ("jobs", "c1"), ("last", "c2"), ("x", "c1"), ("\0", "c1")]
)
def test_the_causes_can_be_sorted_by_their_columns(operator, cause_page, cause, by, first):
    cause("c1", 2, failed_at=ago(hours=2))
    cause("c2", failed_at=ago(hours=1))
    response = operator.get(cause_page(by=by))
    assert response.context["lines"][0].query == f"cause={first}"
    assert response.text.count('aria-sort="descending"') == 1
    for name in ("jobs", "hour", "first", "last"):
        assert f'href="{cause_page(by=name)}"' in response.text
    assert (
        f"{cause_page(by='last', retrying='too')}".replace("&", "&amp;")
        in operator.get(cause_page(retrying="too")).text
    )


def test_the_index_of_the_admin_links_to_the_causes(operator, client, staff, cause_page):
    assert f'<a href="{cause_page()}"' in operator.get("/admin/").text
    client.force_login(staff("view_workerprocess"))
    assert cause_page() not in client.get("/admin/").text
