import re
from datetime import datetime, timedelta
from html import unescape
from zoneinfo import ZoneInfo

import pytest
from django.urls import reverse
from django_delayed.models import DelayedJob
from django_delayed.states import State
from tests.admin.pages import said

PARIS = ZoneInfo("Europe/Paris")
NOON = datetime(2026, 3, 10, 12, tzinfo=PARIS)
FIELDS = ["run_at", "failed_at", "created_at"]


def shown(response):
    return {row.pk for row in response.context["cl"].result_list}


@pytest.fixture
def on_days(job):
    """A failed job for each of three days; all its times are at noon of that day."""
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


def test_a_queue_that_is_not_listed_can_be_named_in_the_address(operator, page, job):
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
        {"cause": "a\0b"},
        {"q": "a\0b"},
        {"q": "shop.post:\0"},
    ],
    ids=str,
)
def test_an_invalid_filter_finds_nothing_and_is_reported(operator, page, on_days, query):
    response = operator.get(page(**query))
    assert response.status_code == 200
    assert shown(response) == set()
    assert len(said(response)) == 1


def test_an_action_on_all_jobs_of_an_invalid_filter_does_nothing(operator, page, on_days):
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


def test_the_ids_of_the_forms_do_not_depend_on_the_language(operator, page, job):
    job()
    text = operator.get(page(), headers={"accept-language": "ja"}).text
    assert 'id="run-at-form"' in text


def test_an_empty_filter_gives_no_message(operator, page, on_days):
    response = operator.get(page(run_at__range__gte_0="", run_at__range__gte_1=""))
    assert shown(response) == {row.pk for row in on_days}
    assert said(response) == []


@pytest.mark.parametrize(
    "name",
    [
        *(
            "last_error__icontains",
            "payload__contains",
            "payload",
            "error_message__startswith",
            "name__regex",
        ),
        *(
            "locked_by",
            "run_at",
            "run_at__year",
            "created_at__range__gte",
            "failed_attempts__error__contains",
        ),
        *("state__exact", "queue__startswith", "id__in", "nothing", "last_error__icontains\0"),
    ],
)
def test_only_the_filters_of_the_list_work_in_an_address(operator, page, job, rows, name, caplog):
    row = job()
    before = rows()
    assert operator.get(page(**{name: "1"})).status_code == 400
    data = {"action": "discard", "select_across": "1", "confirmed": "yes", "_selected_action": row.pk}
    assert operator.post(page(**{name: "1"}), data).status_code == 400
    assert rows() == before


@pytest.mark.parametrize(
    "name", ["o", "p", "q", "all", "e", "state", "queue", "cause", "run_at__range__gte_0"]
)
def test_a_nul_in_a_parameter_causes_no_server_error(operator, page, job, name):
    job()
    for value in ("\0", "1\0", "a\0b"):
        assert operator.get(page(**{name: value})).status_code in (200, 302)


def test_a_cause_filters_to_the_failed_jobs_that_have_it(operator, page, job):
    row, other = job(error_fingerprint="c1"), job(error_fingerprint="c2")
    job(State.RETRYING, error_fingerprint="c1")
    nameless = job()
    response = operator.get(page(cause="c1"))
    assert shown(response) == {row.pk}
    assert "By cause" in response.text
    assert shown(operator.get(page(cause="c2", queue=other.queue))) == {other.pk}
    assert shown(operator.get(page(cause="none"))) == {nameless.pk}
    assert shown(operator.get(page(cause="c3"))) == set()
    assert "By cause" not in operator.get(page()).text


def test_the_newest_failure_of_a_cause_comes_first(operator, page, job):
    now = datetime.now(PARIS)
    rows = [job(error_fingerprint="c1", failed_at=now - timedelta(hours=hours)) for hours in (1, 3, 2)]
    found = operator.get(page(cause="c1")).context["cl"].result_list
    assert [row.pk for row in found] == [rows[0].pk, rows[2].pk, rows[1].pk]


@pytest.mark.parametrize("fingerprint", ["c1", "", "a/b?c&d<e #"])
def test_the_error_of_a_failed_job_links_to_the_others_with_its_cause(operator, page, job, fingerprint):
    rows = [job(error_fingerprint=fingerprint) for _ in range(2)]
    job(error_fingerprint="another")
    text = operator.get(page()).text
    [address] = {
        link
        for link in re.findall(r'<a href="([^"]*)"><span class="delayed-error"', text)
        if "another" not in link
    }
    assert shown(operator.get(page() + unescape(address))) == {row.pk for row in rows}


def test_a_retrying_job_has_no_link_to_a_cause(operator, page, job):
    job(State.RETRYING, error_fingerprint="c1")
    assert "?cause=" not in operator.get(page()).text


@pytest.mark.parametrize("name", ["hostname__icontains", "pid", "queues", "heartbeat_at__year", "alive"])
def test_the_list_of_workers_has_no_filters(client, staff, name):
    client.force_login(staff("view_workerprocess"))
    address = reverse("admin:django_delayed_workerprocess_changelist")
    assert client.get(address).status_code == 200
    assert client.get(f"{address}?{name}=1").status_code == 400
    assert client.get(f"{address}?{name}=%00").status_code == 400


@pytest.mark.parametrize("action", ["retry", "run_now", "discard"])
@pytest.mark.parametrize(
    "key",
    [
        "nonsense",
        "\0",
        "1\0",
        "-1",
        "1.5",
        "",
        "1 OR 1",
        "9" * 30,
        pytest.param("9" * 5000, id="5000 digits"),
    ],
)
def test_a_chosen_row_with_an_invalid_id_is_refused(operator, page, job, rows, action, key):
    row = job()
    before = rows()
    for across in "01":
        data = {"action": action, "select_across": across, "confirmed": "yes", "as_of": "2100-01-01T00:00Z"}
        assert operator.post(page(), data | {"_selected_action": [row.pk, key]}).status_code == 400
    assert rows() == before


@pytest.mark.parametrize("key", ["0", "٣", str(2**63 - 1)])
def test_a_chosen_row_that_does_not_exist_is_ignored(operator, page, job, key):
    job()
    assert operator.post(page(), {"action": "discard", "_selected_action": key}).status_code == 302
    assert DelayedJob.objects.exists()
