import json
import re
from datetime import timedelta
from xml.etree import ElementTree

import pytest
from django.contrib.admin.models import LogEntry
from django.core import checks
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_delayed import claiming, stats
from django_delayed.admin import overview
from django_delayed.admin.display import span_text
from django_delayed.models import PausedQueue, WorkerProcess
from django_delayed.states import State
from tests.admin.pages import said
from tests.lanes import no_lanes_are_remembered

__all__ = ["no_lanes_are_remembered"]

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def nothing_fails_a_check(monkeypatch):
    monkeypatch.setattr(overview, "failing_checks", list)


@pytest.fixture
def works(db):
    """Write the row of a worker that has this many slots."""

    def write(number=1, slots=1, age=timedelta(0), **columns):
        now = timezone.now()
        given = {"id": f"{number:032}", "hostname": f"web-{number}", "pid": number}
        given |= {"started_at": now - HOUR, "heartbeat_at": now - age, "slots": json.dumps([None] * slots)}
        return WorkerProcess.objects.create(**given | columns)

    return write


@pytest.fixture
def pauser(client, staff):
    """The test client, signed in as a user who may pause queues."""
    client.force_login(staff("view_delayedjob", "pause_queue"))
    return client


def numbers(response):
    return {number.label: number.text for number in response.context["numbers"]}


def test_the_totals_link_to_their_jobs(operator, page, queue_page, job, works):
    for number, state in enumerate([State.FAILED, State.RETRYING, State.RUNNING, State.ENQUEUED], 1):
        for _ in range(number):
            job(state)
    job(failed_at=timezone.now() - 2 * HOUR)
    works(1, slots=4)
    works(2, slots=1)
    works(3, slots=9, quiet=True)
    works(4, slots=9, age=HOUR)
    response = operator.get(queue_page())
    assert numbers(response) == {
        "Failed": "2",
        "Failed in the last hour": "1",
        "Retrying": "2",
        "Running": "3 of 5",
        "Waiting": "6",
        "The oldest waits for": "1\xa0hour",
    }
    for number in response.context["numbers"]:
        if number.query:
            listed = operator.get(f"{page()}?{number.query}").context["cl"].result_count
            assert str(listed) == number.text.split(" of ")[0]


def test_the_numbers_of_each_queue_link_to_their_jobs(operator, page, queue_page, job):
    job(State.ENQUEUED, queue="mail")
    job(State.ENQUEUED, queue="mail", priority=5)
    job(State.SCHEDULED, queue="mail")
    job(State.RUNNING, queue="mail")
    for _ in range(3):
        job(queue="images")
    images, mail = operator.get(queue_page()).context["queues"][::-1]
    assert (mail.name, [text for text, _ in mail.numbers]) == ("mail", ["3", "2", "1", "0"])
    assert (images.name, [text for text, _ in images.numbers]) == ("images", ["0", "0", "0", "3"])
    assert (mail.oldest, images.oldest) == ("1\xa0hour", "")
    for line in (mail, images):
        for text, query in line.numbers[1:]:
            assert str(operator.get(f"{page()}?{query}").context["cl"].result_count) == text


def test_the_counts_stop_at_ten_thousand(operator, queue_page, job, monkeypatch):
    for module in (stats, stats.counts, stats.waiting):
        monkeypatch.setattr(module, "MOST_COUNTED", 2)
    for state in (State.ENQUEUED, State.FAILED):
        for number in range(3):
            job(state, priority=number)
    response = operator.get(queue_page())
    assert numbers(response)["Failed"] == numbers(response)["Waiting"] == "2+"
    [line] = response.context["queues"]
    assert [text for text, _ in line.numbers] == ["2+", "2+", "0", "2"]
    assert "Of the failed jobs, the last 2 are counted by queue." in response.text


def test_a_page_without_problems_says_so_in_one_line(operator, queue_page, job, works):
    works()
    job(State.ENQUEUED)
    text = operator.get(queue_page()).text
    assert "Nothing is wrong." in text
    assert "delayed-problems" not in text


def problems(response):
    return response.context["problems"]


def test_due_jobs_without_any_worker_are_a_problem(operator, queue_page, job, works):
    assert problems(operator.get(queue_page())) == []
    job(State.SCHEDULED)
    assert problems(operator.get(queue_page())) == []
    job(State.ENQUEUED)
    works(1, quiet=True)
    assert problems(operator.get(queue_page())) == ["Jobs are due, and no worker claims any."]


@pytest.mark.parametrize(
    ("columns", "is_served"),
    [
        ({}, True),
        ({"queues": "images,ma*"}, True),
        ({"queues": "images"}, False),
        ({"queues": "!mail"}, False),
        ({"min_priority": 5}, False),
        ({"max_priority": 5}, True),
        ({"quiet": True}, False),
        ({"age": HOUR}, False),
    ],
)
def test_a_queue_that_no_worker_serves_is_a_problem(operator, queue_page, job, works, columns, is_served):
    works(1, queues="other")
    works(2, **columns)
    job(State.ENQUEUED, queue="mail")
    what = "The queue “mail” has jobs that are due, and no worker."
    assert (what in problems(operator.get(queue_page()))) == (not is_served)
    PausedQueue.objects.create(queue="mail", paused_at=timezone.now())
    assert what not in problems(operator.get(queue_page()))


def test_a_worker_without_heartbeats_is_a_problem(operator, queue_page, works):
    works(2, age=2 * HOUR)
    [problem] = problems(operator.get(queue_page()))
    assert problem == "The worker web-2:2 has sent no heartbeat for 2\xa0hours."


def test_a_failing_check_is_a_problem(operator, queue_page, monkeypatch):
    monkeypatch.undo()
    overview.failing_checks.cache_clear()
    found = [
        checks.Warning("too slow", id="django_delayed.W099"),
        checks.Info("a hint", id="django_delayed.I099"),
        checks.Error("not ours", id="shop.E001"),
    ]
    monkeypatch.setattr(checks, "run_checks", lambda: found)
    try:
        assert problems(operator.get(queue_page())) == ["django_delayed.W099: too slow"]
    finally:
        overview.failing_checks.cache_clear()


def test_the_number_of_queries_does_not_depend_on_the_number_of_queues(
    operator, queue_page, job, works, minute
):
    job(State.ENQUEUED)
    with CaptureQueriesContext(connection) as few:
        operator.get(queue_page())
    for number in range(30):
        for state in (State.ENQUEUED, State.FAILED, State.RUNNING):
            job(state, queue=f"queue {number}", priority=number % 3)
        works(number)
        minute(timedelta(minutes=number + 2))
    claiming.forget_lanes()
    with CaptureQueriesContext(connection) as many:
        operator.get(queue_page())
    assert len(many) == len(few) <= 12


def test_queues_beyond_the_limit_are_left_out(operator, queue_page, job, monkeypatch):
    monkeypatch.setattr(overview, "MOST_QUEUES", 2)
    for queue in "abc":
        job(queue=queue)
    response = operator.get(queue_page())
    assert [line.name for line in response.context["queues"]] == ["a", "b"]
    assert "These are the first 2." in response.text


# What was performed


def performed(response):
    return response.context["performed"]


def test_performed_jobs_are_shown_in_numbers_charts_and_a_table(operator, queue_page, minute):
    minute(timedelta(minutes=20), processed=30, failed=2, waited=60.0, longest=12.5)
    minute(timedelta(minutes=20), processed=10, failed=0, waited=0.004, longest=0.004)
    minute(timedelta(minutes=5), processed=1, waited=0.25, longest=0.25)
    response = operator.get(queue_page())
    assert performed(response)["totals"] == [
        ("Processed", "41"),
        ("Failed attempts", "2"),
        ("Average wait", "1.5 s"),
        ("Longest wait", "12.5 s"),
    ]
    throughput, waiting = performed(response)["figures"]
    assert (throughput.most, waiting.most) == ("At most 40 a minute", "At most 12.5 s")
    older, newer = performed(response)["lines"]
    assert older[1:] == (40, 2, "1.5 s", "12.5 s")
    assert newer[1:] == (1, 0, "250 ms", "250 ms")
    for figure in (throughput, waiting):
        root = ElementTree.fromstring(figure.svg)
        title, description, first, second = root
        assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
        assert (title.text, first[0].text.split(":")[0]) == (figure.title, older.at.split(":")[0])
        assert {rect.get("class") for rect in first[1:]} == {"delayed-part", "delayed-rest"}
        assert {rect.get("class") for rect in second[1:]} == {"delayed-part"}
        for rect in [*first[1:], *second[1:]]:
            assert 0 <= float(rect.get("y")) <= 100
            assert 0 < float(rect.get("height")) <= 100
    assert "40 attempts, of which 2 failed" in throughput.svg
    assert "41 attempts, of which 2 failed" in throughput.svg


@pytest.mark.parametrize(
    ("span", "shown", "processed"),
    [
        ("hour", "hour", "1"),
        ("day", "day", "11"),
        ("three-days", "three-days", "111"),
        ("", "hour", "1"),
        ("week", "hour", "1"),
        ("\0", "hour", "1"),
    ],
)
def test_the_address_chooses_the_time_span(operator, queue_page, minute, span, shown, processed):
    for hours, count in [(0, 1), (20, 10), (70, 100), (100, 1000)]:
        minute(hours * HOUR + timedelta(minutes=5), processed=count)
    response = operator.get(queue_page(span=span))
    assert performed(response)["totals"][0] == ("Processed", processed)
    assert [choice.name for choice in performed(response)["spans"] if choice.is_shown] == [shown]


def test_a_span_without_performed_jobs_says_so(operator, queue_page):
    response = operator.get(queue_page())
    assert "No worker has performed a job in this time. The last two minutes are not" in response.text
    assert performed(response)["figures"] == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0004, "0 ms"),
        (0.25, "250 ms"),
        (1, "1.0 s"),
        (59.94, "59.9 s"),
        (0.9996, "1000 ms"),
        (3700, "1\xa0hour, 1\xa0minute"),
    ],
)
def test_a_wait_is_shown_in_the_unit_that_fits(seconds, text):
    assert span_text(seconds) == text


# Pauses


def test_a_queue_is_paused_and_resumed(pauser, queue_page, job):
    job(State.ENQUEUED, queue="mail")
    response = pauser.post(queue_page(of="pause"), {"queue": "mail"})
    assert response.url == queue_page()
    assert said(response) == ["No worker claims jobs of the queue “mail” any more."]
    paused = PausedQueue.objects.get()
    assert (paused.queue, paused.paused_by) == ("mail", "view_delayedjob-pause_queue")
    assert LogEntry.objects.get().change_message == "pause: mail"
    [line] = pauser.get(queue_page()).context["queues"]
    assert (line.name, line.paused_by) == ("mail", paused.paused_by)
    response = pauser.post(queue_page(of="resume"), {"queue": "mail"})
    assert said(response)[-1] == "Workers claim jobs of the queue “mail” again."
    assert not PausedQueue.objects.exists()
    assert LogEntry.objects.count() == 2


def test_a_paused_queue_without_jobs_can_be_resumed(pauser, queue_page):
    pauser.post(queue_page(of="pause"), {"queue": "mail"})
    response = pauser.get(queue_page())
    [line] = response.context["queues"]
    assert line.name == "mail"
    assert re.search(r'action="[^"]*/resume/"', response.text)


def test_resuming_a_queue_that_is_not_paused_is_not_logged(pauser, queue_page):
    pauser.post(queue_page(of="resume"), {"queue": "mail"})
    assert not LogEntry.objects.exists()


def test_a_request_for_the_numbers_does_not_consume_messages(pauser, queue_page, job):
    job(State.ENQUEUED, queue="mail")
    pauser.post(queue_page(of="pause"), {"queue": "mail"})
    numbers = pauser.get(queue_page(of="numbers", span="day")).text
    assert 'data-live-row="mail"' in numbers
    assert "<html" not in numbers
    assert "No worker claims jobs of the queue “mail” any more." in pauser.get(queue_page()).text


@pytest.mark.parametrize(
    "data", [{}, {"queue": ""}, {"queue": "m*"}, {"queue": "a\0b"}, {"queue": "x" * 10_000}]
)
def test_an_invalid_name_of_a_queue_is_refused(pauser, queue_page, data):
    for verb in ("pause", "resume"):
        response = pauser.post(queue_page(of=verb), data)
        assert response.url == queue_page()
        assert said(response)[-1].startswith("queue must")
    assert not PausedQueue.objects.exists()


def test_a_get_pauses_nothing(pauser, queue_page):
    for verb in ("pause", "resume"):
        assert pauser.get(queue_page(of=verb, queue="mail")).status_code == 405
    assert not PausedQueue.objects.exists()


def test_markup_in_the_name_of_a_queue_is_escaped(pauser, queue_page, job):
    evil = "<script>alert(1)</script>"
    job(State.ENQUEUED, queue=evil)
    pauser.post(queue_page(of="pause"), {"queue": evil})
    assert PausedQueue.objects.get().queue == evil
    assert "<script>alert" not in pauser.get(queue_page()).text
