import re
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.admin.views.main import ORDER_VAR
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_delayed import stats
from django_delayed.admin import job_list, paginator
from django_delayed.models import DelayedJob, Progress
from django_delayed.states import State
from django_delayed.stats import counts

MINUTE = timedelta(minutes=1)


def shown(response):
    return [row.pk for row in response.context["cl"].result_list]


@pytest.mark.parametrize("state", State)
def test_every_state_is_listed_by_its_name(operator, page, job, state):
    job(state)
    text = operator.get(page()).text
    assert f'<span class="delayed-state delayed-{state.value}">{state.label}</span>' in text


def test_a_line_says_what_failed_and_why(operator, page, job):
    job(queue="tweets", attempts=2, max_attempts=25)
    text = operator.get(page()).text
    for words in ["Post.send_to_twitter", "shop.post:1", "tweets", "2 of 25", "1 hour ago"]:
        assert words in text.replace("\xa0", " ")
    assert "ConnectionError: the server hung up" in text
    assert "Traceback" not in text


def headings(response):
    return re.findall(r'<th scope="col" class="[^"]*column-(\w+)', response.text)


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        ({}, ["number", "what", "state", "queue", "tries", "due", "created"]),
        ({"state": "scheduled"}, ["number", "what", "queue", "priority", "due", "created"]),
        ({"state": "enqueued"}, ["number", "what", "queue", "priority", "due", "created"]),
        ({"state": "running"}, ["number", "what", "queue", "tries", "worker", "running_since", "progress"]),
        ({"state": "retrying"}, ["number", "what", "queue", "tries", "due", "created"]),
        ({"state": "failed"}, ["number", "what", "queue", "tries", "failed", "created"]),
        ({"cause": "c1"}, ["number", "what", "queue", "tries", "failed", "created"]),
        ({"state": "finished"}, ["number", "what", "queue", "tries", "finished", "expires"]),
    ],
    ids=str,
)
def test_the_columns_fit_the_state(operator, page, job, query, columns):
    for state in State:
        job(state, error_fingerprint="c1")
    assert [name for name in headings(operator.get(page(**query))) if name != "action"] == columns


def test_running_jobs_name_their_workers_with_one_more_query(operator, page, job, worker):
    gone = job(State.RUNNING, locked_by="v" * 32)
    job(State.RUNNING)
    response = operator.get(page(state="running"))
    assert re.findall(r'class="field-worker">([^<]+)<', response.text) == ["web-2:77", gone.locked_by]
    for _ in range(5):
        job(State.RUNNING)
    with CaptureQueriesContext(connection) as queries:
        operator.get(page(state="running"))
    assert len([query for query in queries if "workerprocess" in query["sql"]]) == 1
    assert len(queries) <= 12


def test_running_jobs_show_their_progress_without_another_query(operator, page, job):
    quiet, said = job(State.RUNNING), job(State.RUNNING)
    columns = {"done": 1200, "total": 5000, "note": "<b>reading</b>", "updated_at": timezone.now()}
    Progress.objects.create(pk=said.pk, **columns)
    text = operator.get(page(state="running")).text
    [reading] = [sql for sql in sql_of(operator, page(state="running")) if "django_delayed_progress" in sql]
    assert "LEFT OUTER JOIN" in reading
    first, second = re.findall(r'<td class="field-progress">(.*?)</td>', text)
    assert shown(operator.get(page(state="running"))) == [said.pk, quiet.pk]
    assert 'value="0.2400"' in first
    assert "1,200 of 5,000 <bdi>&lt;b&gt;reading&lt;/b&gt;</bdi>" in first
    assert second == "-"
    assert "django_delayed_progress" not in "".join(sql_of(operator, page(state="failed")))


def sql_of(operator, address):
    with CaptureQueriesContext(connection) as queries:
        operator.get(address)
    return [query["sql"] for query in queries]


def links(response):
    """The query strings of the links in the cells of the list."""
    table = response.text.split('id="result_list"')[1].split("</table>")[0]
    cells = re.findall(r"<td[^>]*>.*?</td>", table)
    return [unescape(query) for cell in cells for query in re.findall(r'href="(\?[^"]*)"', cell)]


def listed(operator, page, query):
    return set(shown(operator.get(page() + query)))


@pytest.mark.parametrize("state", ["failed", "retrying"])
def test_name_object_queue_and_error_link_to_the_jobs_that_share_them(operator, page, job, state):
    one = job(State(state), queue="mail & more", error_fingerprint="c1")
    job(State.ENQUEUED, queue="mail & more", about=one.about)
    name = job(State(state), queue="other", error_fingerprint="c2")
    error = job(State(state), name="Other", queue="other", error_fingerprint="c1")
    [of_name, of_about, of_error, of_queue] = links(operator.get(page(state=state, queue=one.queue)))
    assert listed(operator, page, of_name) == {one.pk, name.pk}
    assert listed(operator, page, of_about) == {one.pk}
    assert listed(operator, page, of_error) == {one.pk, error.pk}
    assert listed(operator, page, of_queue) == {one.pk}


def test_without_a_state_the_links_lead_to_jobs_of_all_states(operator, page, job):
    rows = [job(state, queue="mail", about="shop.post:9") for state in State]
    queries = {query for query in links(operator.get(page())) if "cause=" not in query}
    assert len(queries) == 3
    for query in queries:
        assert listed(operator, page, query) == {row.pk for row in rows}


@pytest.mark.parametrize("name", ["7", "#7", "a:b", ""])
def test_a_name_that_the_search_would_misread_is_not_a_link(operator, page, job, name):
    job(name=name, about="", queue="")
    assert [query for query in links(operator.get(page())) if "cause=" not in query] == []


def test_the_list_does_not_load_the_wide_columns(operator, page, job):
    job()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        operator.get(page())
    rows = [query["sql"] for query in queries if "django_delayed_delayedjob" in query["sql"]]
    assert rows
    for column in ["payload", "last_error", "result"]:
        assert not any(f'"{column}"' in sql or f"`{column}`" in sql for sql in rows)


def test_the_number_of_queries_does_not_depend_on_the_number_of_rows(operator, page, job):
    job()
    with CaptureQueriesContext(connection) as few:
        operator.get(page())
    for state in State:
        for number in range(10):
            job(state, queue=f"queue-{number}")
    with CaptureQueriesContext(connection) as many:
        operator.get(page())
    assert len(many) == len(few) <= 12


def test_the_newest_jobs_come_first(operator, page, job):
    rows = [job(State.ENQUEUED) for _ in range(3)]
    assert shown(operator.get(page())) == [row.pk for row in reversed(rows)]


def test_the_newest_failure_comes_first_among_failed_jobs(operator, page, job):
    now = timezone.now()
    late, early = job(failed_at=now), job(failed_at=now - MINUTE)
    assert shown(operator.get(page(state="failed"))) == [late.pk, early.pk]
    assert shown(operator.get(page(failed_at__range__gte_0="2000-01-01"))) == [late.pk, early.pk]
    assert shown(operator.get(page(failed_at__range__gte_0=""))) == [early.pk, late.pk]


def test_only_columns_with_an_index_are_sortable(operator, page, job):
    rows = [job(State.ENQUEUED, run_at=timezone.now() - number * MINUTE) for number in range(3)]
    columns = operator.get(page()).context["cl"].list_display
    names = [getattr(column, "__name__", column) for column in columns]
    created, due = names.index("created"), names.index("due")
    assert shown(operator.get(page(**{ORDER_VAR: created}))) == [row.pk for row in rows]
    assert 'class="sortable column-due' not in operator.get(page(**{ORDER_VAR: due})).text


def test_the_count_stops_before_it_costs_seconds(operator, page, job, monkeypatch):
    monkeypatch.setattr(paginator, "MOST_COUNTED", 4)
    for _ in range(6):
        job()
    response = operator.get(page())
    assert response.context["cl"].result_count == 4
    assert "the count stops at 4" in response.text


SEARCHED = "Only the first 4 jobs of the list were searched."


@pytest.fixture
def few_are_searched(monkeypatch):
    """Let a list search at most four rows."""
    for module in (stats, counts):
        monkeypatch.setattr(module, "MOST_COUNTED", 4)
    monkeypatch.setattr(job_list.JobList, "most_searched", 4)


@pytest.mark.parametrize(
    ("query", "state"),
    [
        ({"q": "Rare"}, State.FAILED),
        ({"q": "Rare", "state": "failed"}, State.FAILED),
        ({"q": "Rare", "state": "scheduled"}, State.SCHEDULED),
        ({"queue": "rare", "state": "retrying"}, State.RETRYING),
        ({"queue": "rare", "state": "finished"}, State.FINISHED),
        ({"created_at__range__lte_0": "2001-01-01"}, State.ENQUEUED),
    ],
    ids=str,
)
def test_a_search_without_an_index_looks_only_at_the_first_jobs_of_the_list(
    operator, page, job, few_are_searched, query, state
):
    now = timezone.now()
    long_ago = now - timedelta(days=10_000)
    ahead = {"run_at": now + 9 * MINUTE} if state == State.SCHEDULED else {}
    rare = {"name": "Rare", "queue": "rare", "created_at": long_ago}
    last = {State.FAILED: {"failed_at": long_ago}, State.FINISHED: {"finished_at": long_ago}}.get(
        state, ahead
    )
    found = job(state, **rare | last)
    first = {"run_at": now + MINUTE, "queue": "a"} if state == State.SCHEDULED else {"queue": "a"}
    for _ in range(3):
        job(state, **first)
    response = operator.get(page(**query))
    assert shown(response) == [found.pk]
    assert SEARCHED not in response.text
    job(state, **first)
    response = operator.get(page(**query))
    assert shown(response) == []
    assert SEARCHED in response.text


@pytest.mark.parametrize(
    "query",
    [
        {"state": "failed", "queue": "rare"},
        {"state": "failed", "cause": "c1"},
        {"failed_at__range__lte_0": "2001-01-01"},
        {"q": "shop.post:1"},
        {"q": "#%(id)s"},
    ],
    ids=str,
)
def test_a_search_with_an_index_looks_at_all_jobs(operator, page, job, few_are_searched, query):
    long_ago = timezone.now() - timedelta(days=10_000)
    row = job(queue="rare", error_fingerprint="c1", failed_at=long_ago)
    for _ in range(6):
        job()
    response = operator.get(page(**{name: value % {"id": row.pk} for name, value in query.items()}))
    assert shown(response) == [row.pk]
    assert "of the list were searched" not in response.text


def test_a_filter_by_queue_without_a_state_looks_at_each_state(operator, page, job, monkeypatch):
    for module in (stats, counts):
        monkeypatch.setattr(module, "MOST_COUNTED", 6)
    waiting, failed = job(State.ENQUEUED, queue="rare"), job(queue="rare")
    for state in State:
        job(state, queue="other")
    response = operator.get(page(queue="rare"))
    assert set(shown(response)) == {waiting.pk, failed.pk}


def test_a_chosen_job_is_moved_although_newer_jobs_are_listed_before_it(
    operator, page, job, few_are_searched
):
    chosen = job()
    for _ in range(6):
        job()
    data = {"action": "retry", "_selected_action": chosen.pk, "confirmed": "yes"}
    operator.post(page(q="Post"), data)
    chosen.refresh_from_db()
    assert chosen.state == State.ENQUEUED


def test_waiting_jobs_are_listed_in_the_order_in_which_they_run(operator, page, job):
    now = timezone.now()
    last = job(State.SCHEDULED, queue="mail", priority=5, run_at=now + MINUTE)
    later = job(State.SCHEDULED, queue="mail", run_at=now + 3 * MINUTE)
    first = job(State.SCHEDULED, queue="mail", run_at=now + 2 * MINUTE)
    before = job(State.SCHEDULED, queue="a", run_at=now + 9 * MINUTE)
    in_order = [first.pk, later.pk, last.pk]
    response = operator.get(page(state="scheduled"))
    assert shown(response) == [before.pk, *in_order]
    assert 'class="sortable' not in response.text
    assert shown(operator.get(page(state="scheduled", queue="mail"))) == in_order


def test_a_short_list_mentions_no_limit(operator, page, job):
    job()
    assert "the count stops" not in operator.get(page()).text


@pytest.mark.parametrize("words", ["{pk}", "#{pk}", " {pk} ", "Newsletter", "shop.post:77"])
def test_the_search_finds_ids_beginnings_of_names_and_objects(operator, page, job, words):
    job()
    row = job(name="NewsletterJob", about="shop.post:77")
    job()
    assert shown(operator.get(page(q=words.format(pk=row.pk)))) == [row.pk]


@pytest.mark.parametrize(
    "words",
    [
        "9" * 30,
        pytest.param("9" * 5000, id="5000 digits"),
        str(2**63),
        "0",
        "letterJob",
        "%",
        "hung up",
        "'",
        "٣٣٣٣٣٣٣",
    ],
)
def test_a_search_without_results_is_an_empty_list(operator, page, job, words):
    job(name="NewsletterJob")
    assert shown(operator.get(page(q=words))) == []


@pytest.mark.parametrize(
    "payload", ["", "{", "null", "[]", '{"job": 7}', '{"job": "gone.jobs:Gone", "args": [], "kwargs": {}}']
)
def test_jobs_with_an_invalid_payload_are_listed(operator, page, job, payload):
    row = job(payload=payload)
    assert shown(operator.get(page())) == [row.pk]


def test_the_list_has_only_the_actions_that_are_moves(operator, page, job):
    job()
    actions = operator.get(page()).context["action_form"].fields["action"].choices
    assert [name for name, _ in actions if name] == ["retry", "run_now", "give_up", "discard", "cancel"]


def test_markup_in_the_texts_of_a_job_is_escaped(operator, page, job):
    evil = "<script>alert(1)</script>"
    job(name=evil, queue=evil, about=evil, error_class=evil, error_message='"><img src=x onerror=alert(1)>')
    text = operator.get(page()).text
    assert evil not in text
    assert "<img src=x" not in text


def test_the_jobs_come_from_the_database_of_the_queue(operator, page, job):
    job()
    assert operator.get(page()).context["cl"].queryset.db == DelayedJob.objects.db
