from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.contrib.messages import get_messages
from django_delayed.states import State

PARIS = ZoneInfo("Europe/Paris")
NOON = datetime(2026, 3, 10, 12, tzinfo=PARIS)
FIELDS = ["run_at", "failed_at", "created_at"]


def shown(response):
    return {row.pk for row in response.context["cl"].result_list}


def said(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


@pytest.fixture
def on_days(job):
    """A failed job for each of three days, at noon, by all of its times."""
    return [
        job(run_at=noon, failed_at=noon, created_at=noon)
        for noon in (NOON - timedelta(days=1), NOON, NOON + timedelta(days=1))
    ]


@pytest.mark.parametrize("state", State)
def test_a_state_filters_to_the_jobs_in_it(operator, page, job, state):
    rows = {state: job(state) for state in State}
    response = operator.get(page(state=state.value))
    assert shown(response) == {rows[state].pk}
    assert "<title>" in response.text


def test_a_queue_filters_to_its_jobs(operator, page, job):
    row = job(queue="mail")
    job(queue="index")
    assert shown(operator.get(page(queue="mail"))) == {row.pk}


@pytest.mark.parametrize("state", State)
def test_a_queue_is_offered_whatever_state_its_jobs_are_in(operator, page, job, state):
    job(state, queue="reports")
    assert 'href="?queue=reports"' in operator.get(page()).text


def test_a_queue_that_is_not_offered_can_be_asked_for_by_its_address(operator, page, job):
    response = operator.get(page(queue="unheard"))
    assert shown(response) == set()
    assert 'href="?queue=unheard"' in response.text


@pytest.mark.parametrize("field", FIELDS)
def test_a_date_without_a_time_filters_from_its_start_and_to_its_end(operator, page, on_days, field):
    before, that_day, after = on_days
    begin, end = f"{field}__range__gte_0", f"{field}__range__lte_0"
    assert shown(operator.get(page(**{begin: "2026-03-10"}))) == {that_day.pk, after.pk}
    assert shown(operator.get(page(**{end: "2026-03-10"}))) == {before.pk, that_day.pk}
    assert shown(operator.get(page(**{begin: "2026-03-10", end: "2026-03-10"}))) == {that_day.pk}


def test_empty_times_beside_a_date_mean_the_whole_day(operator, page, on_days):
    query = {"run_at__range__gte_0": "2026-03-10", "run_at__range__gte_1": ""}
    query |= {"run_at__range__lte_0": "2026-03-10", "run_at__range__lte_1": ""}
    assert shown(operator.get(page(**query))) == {on_days[1].pk}


def test_the_last_microsecond_of_a_day_belongs_to_it(operator, page, job):
    row = job(run_at=NOON.replace(hour=23, minute=59, second=59, microsecond=999_000))
    assert shown(operator.get(page(run_at__range__lte_0="2026-03-10"))) == {row.pk}
    assert shown(operator.get(page(run_at__range__lte_0="2026-03-09"))) == set()


def test_a_time_is_in_the_zone_of_the_reader(operator, page, on_days):
    query = {"run_at__range__gte_0": "2026-03-10", "run_at__range__lte_0": "2026-03-10"}
    exactly = query | {"run_at__range__gte_1": "12:00:00", "run_at__range__lte_1": "12:00:00"}
    assert shown(operator.get(page(**exactly))) == {on_days[1].pk}
    later = query | {"run_at__range__gte_1": "12:00:01", "run_at__range__lte_1": "23:00:00"}
    assert shown(operator.get(page(**later))) == set()


@pytest.mark.parametrize(
    "query",
    [
        {"run_at__range__gte_0": "yesterday"},
        {"run_at__range__lte_0": "2026-02-30"},
        {"failed_at__range__gte_0": "2026-03-10", "failed_at__range__gte_1": "25:00"},
        {"created_at__range__gte_1": "10:00:00"},
        {"run_at__range__gte_0": "0001-01-01"},
        {"run_at__range__gte_0": "2026-03-10\0"},
        {"state": "lost"},
        {"queue": "a\0b"},
    ],
    ids=str,
)
def test_what_cannot_be_understood_is_said_and_finds_nothing(operator, page, on_days, query):
    response = operator.get(page(**query))
    assert response.status_code == 200
    assert shown(response) == set()
    assert len(said(response)) == 1


def test_an_action_on_all_of_a_filter_that_was_not_understood_is_about_nothing(operator, page, on_days):
    data = {"action": "discard", "select_across": "1", "index": "0", "_selected_action": on_days[0].pk}
    response = operator.post(page(run_at__range__gte_0="yesterday"), data)
    assert response.status_code == 302
    assert said(response) == ["Nothing to discard: a running job cannot be discarded."]


def test_the_ranges_have_forms_and_titles_of_their_own(operator, page, job):
    job()
    text = operator.get(page()).text
    for title, form in [("run at", "run-at"), ("failed at", "failed-at"), ("created at", "created-at")]:
        assert f"By {title}" in text
        assert text.count(f'id="{form}-form"') == 1


def test_the_forms_have_an_id_in_every_script(operator, page, job):
    job()
    text = operator.get(page(), headers={"accept-language": "ja"}).text
    assert 'id="run-at-form"' in text


def test_without_a_filter_nothing_is_said(operator, page, on_days):
    response = operator.get(page(run_at__range__gte_0="", run_at__range__gte_1=""))
    assert shown(response) == {row.pk for row in on_days}
    assert said(response) == []
