"""The page that lists what operators have done."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django_delayed.admin import operations_log
from django_delayed.models import DelayedJob, FailureGroup, PausedQueue, WorkerProcess
from django_delayed.states import State

LOG = "/admin/django_delayed/pausedqueue/operations/"
VIEW, RETRY, DISCARD, PAUSE = "view_delayedjob", "retry_delayedjob", "discard_delayedjob", "pause_queue"


def lines(response):
    return [[line.verb, line.many, line.which, line.more] for line in response.context["lines"]]


def act(client, action, *rows, query="", **data):
    """Choose an action in the list, and confirm it."""
    address = reverse("admin:django_delayed_delayedjob_changelist") + query
    chosen = {"action": action, "_selected_action": [row.pk for row in rows]}
    hidden = client.post(address, chosen | data).context["hidden"]
    answer = {name: value for name, value in hidden if name != "_selected_action"}
    assert client.post(address, chosen | answer | data).status_code == 302


def test_each_line_says_who_did_what_with_how_many_and_which_jobs(signed_in, page, job):
    client = signed_in(VIEW, RETRY, DISCARD, PAUSE)
    rows = [job(queue="mail") for _ in range(3)]
    other = job(queue="other")
    query = "?state=failed&queue=mail&failed_at__range__gte_0=2001-01-01"
    act(client, "retry", *rows, query=query, select_across="1", spread="2")
    client.post(page(other.pk, of="discard"), {"confirmed": "yes"})
    client.post(reverse("admin:django_delayed_pausedqueue_pause"), {"queue": "<b>mail"})
    response = client.get(LOG)
    pause, discard, retry = lines(response)
    assert pause == ["Pause", "", "", "<b>mail"]
    assert discard[:3] == ["Discard", "1 / 1", str(other)]
    assert retry[:3] == ["Retry", "3 / 3", "state: failed, queue: mail, failed at ≥ 2001-01-01"]
    assert "spread over 120 s" in retry[3]
    assert all(str(row.pk) in retry[3] for row in rows)
    assert "&lt;b&gt;mail" in response.text
    assert response.text.count(f"<bdi>{response.wsgi_request.user.get_username()}</bdi>") == 3


def test_an_operation_that_failed_midway_is_marked_as_not_completed(signed_in, page, job, monkeypatch):
    client = signed_in(VIEW, RETRY)
    act(client, "retry", job())
    entry = LogEntry.objects.get()
    entry.change_message = entry.change_message.replace("1 of 1", "not completed")
    entry.save()
    [[verb, many, _, _]] = lines(client.get(LOG))
    assert (verb, many) == ("Retry", "not completed")


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            "retry: 5 of 7 where all as of 2026-01-02 03:04:05+00:00: 1, 2, …",
            ["Retry", "5 / 7", "all", "1, 2, …"],
        ),
        (
            "discard: 2 of 2 where q=a and b and cause=c1 as of 2026-01-02 03:04:05+00:00: 1, 2",
            ["Discard", "2 / 2", "search: a, b, cause: c1", "1, 2"],
        ),
        (
            "quiet: 1 of 2: host:web-2 pid:7, host:web-3 pid:8",
            ["Quiet", "1 / 2", "", "host:web-2 pid:7, host:web-3 pid:8"],
        ),
        ("something else", ["Change", "", "what", "something else"]),
        ("", ["Change", "", "what", ""]),
    ],
)
def test_an_entry_is_split_into_its_columns(signed_in, entry, message, line):
    entry(message)
    assert lines(signed_in(VIEW).get(LOG)) == [line]


@pytest.mark.parametrize("text", ["known", "", "3 of 5 suppliers time out", "1 of 2: as of\nnow"])
@pytest.mark.parametrize(("model", "verb"), [(FailureGroup, "note"), (PausedQueue, "pause")])
def test_a_note_or_the_name_of_a_queue_is_shown_as_it_is(signed_in, entry, model, verb, text):
    entry(f"{verb}: {text}", ContentType.objects.get_for_model(model))
    assert lines(signed_in(VIEW).get(LOG)) == [[verb.capitalize(), "", "", text]]


@pytest.fixture
def entry(staff):
    """Write an entry about delayed jobs into the admin's log."""
    user = User.objects.create(username="somebody")
    of_jobs = ContentType.objects.get_for_model(DelayedJob)

    def write(message, content_type=of_jobs):
        return LogEntry.objects.create(
            user=user, content_type=content_type, object_repr="what", action_flag=2, change_message=message
        )

    return write


def test_the_log_has_pages_and_reads_each_in_few_queries(signed_in, entry, monkeypatch):
    monkeypatch.setattr(operations_log, "ENTRIES_A_PAGE", 2)
    client = signed_in(VIEW)
    for number in range(5):
        entry(f"retry: {number} of 9: 1")
    client.get(LOG)
    with CaptureQueriesContext(connection) as queries:
        first = client.get(LOG)
    assert len(queries) <= 6
    assert [many for _, many, _, _ in lines(first)] == ["4 / 9", "3 / 9"]
    assert 'href="?p=2"' in first.text
    last = client.get(f"{LOG}?p=3")
    assert [many for _, many, _, _ in lines(last)] == ["0 / 9"]
    assert 'href="?p=4"' not in last.text
    # An invalid number of a page gives the first page, and one that is too large gives the last.
    assert lines(client.get(f"{LOG}?p=x")) == lines(first)
    assert lines(client.get(f"{LOG}?p=99")) == lines(last)


def test_the_log_needs_the_permission_to_view_jobs(signed_in, entry):
    entry("retry: 1 of 1: 1")
    entry("quiet: 1 of 1: host:web-2 pid:7", ContentType.objects.get_for_model(WorkerProcess))
    entry("changed", ContentType.objects.get_for_model(LogEntry))
    assert signed_in("view_workerprocess").get(LOG).status_code == 403
    assert [line[0] for line in lines(signed_in(VIEW, "view_workerprocess").get(LOG))] == ["Quiet", "Retry"]


def test_entries_about_workers_need_the_permission_to_view_workers(signed_in, entry):
    entry("quiet: 1 of 1: host:web-2 pid:7", ContentType.objects.get_for_model(WorkerProcess))
    response = signed_in(VIEW).get(LOG)
    assert lines(response) == []
    assert "Nobody has done anything yet." in response.text


def test_the_overview_links_to_the_log_and_a_post_to_it_changes_nothing(signed_in, queue_page, job):
    job(State.ENQUEUED)
    client = signed_in(VIEW)
    assert f'href="{LOG}"' in client.get(queue_page()).text
    client.post(LOG, {"action": "discard"})
    assert DelayedJob.objects.count() == 1
    assert not LogEntry.objects.exists()
