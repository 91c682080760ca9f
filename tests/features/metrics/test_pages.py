"""The pages of metrics: who may read them, and what they show."""

import json

import pytest
from django.db import OperationalError, connections
from django.test import Client
from django.utils import crypto, timezone
from django_delayed import claiming
from django_delayed.features.metrics import pages
from django_delayed.features.metrics.gauges import OF_ALL, OF_LAST_MINUTE, OF_QUEUES, PREFIX
from django_delayed.models import DelayedJob
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.django_db

TOKEN = "a-secret-of-the-monitoring"
PATHS = ["/jobs/metrics", "/jobs/metrics.json"]


@pytest.fixture(autouse=True)
def token(settings):
    settings.DJANGO_DELAYED = {"METRICS_TOKEN": TOKEN}
    claiming.forget_lanes()
    yield
    claiming.forget_lanes()


def get(path, authorization=f"Bearer {TOKEN}", client=None):
    headers = {} if authorization is None else {"authorization": authorization}
    return (client or Client()).get(path, headers=headers)


def families(response):
    return {family.name: family for family in text_string_to_metric_families(response.text)}


def due(queue):
    return DelayedJob.objects.create(name="job", payload="{}", queue=queue, run_at=timezone.now())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer None",
        TOKEN,
        f"Basic {TOKEN}",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        "Bearer é",
    ],
)
def test_without_the_token_a_page_is_refused(path, authorization, django_assert_num_queries):
    with django_assert_num_queries(0):
        response = get(path, authorization)
    assert (response.status_code, response.content) == (401, b"")
    assert response["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("authorization", [None, f"Bearer {TOKEN}", "Bearer None", "Bearer "])
def test_without_a_token_in_the_settings_there_is_no_page(
    path, authorization, settings, django_assert_num_queries
):
    settings.DJANGO_DELAYED = {}
    with django_assert_num_queries(0):
        assert get(path, authorization).status_code == 404


def test_a_token_in_the_address_is_refused():
    assert Client().get(f"/jobs/metrics?token={TOKEN}").status_code == 401


def test_the_token_is_compared_in_constant_time(monkeypatch):
    compared = []

    def compare(given, expected):
        compared.append((given, expected))
        return crypto.constant_time_compare(given, expected)

    monkeypatch.setattr(pages, "constant_time_compare", compare)
    get("/jobs/metrics", "Bearer a")
    assert compared == [("a", TOKEN)]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
@pytest.mark.parametrize("path", PATHS)
def test_the_token_gives_access_without_a_session(path, scheme):
    response = get(path, f"{scheme} {TOKEN}")
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    assert not response.cookies


@pytest.mark.parametrize("path", PATHS)
def test_the_pages_need_no_login_with_login_required_middleware(path, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    assert get(path).status_code == 200
    assert get(path, None).status_code == 401


@pytest.mark.parametrize("path", PATHS)
def test_the_pages_can_only_be_read(path):
    client = Client(enforce_csrf_checks=True)
    for method in ("post", "put", "delete"):
        response = getattr(client, method)(path, headers={"authorization": f"Bearer {TOKEN}"})
        assert response.status_code in (403, 405)
    assert client.head(path, headers={"authorization": f"Bearer {TOKEN}"}).content == b""


def test_prometheus_reads_each_metric_with_its_type_and_its_meaning():
    due("mail")
    response = get("/jobs/metrics")
    assert response["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = families(response)
    assert set(found) == {
        PREFIX + name for name in [*OF_QUEUES, *OF_ALL, *OF_LAST_MINUTE, "queue_workers", "workers"]
    }
    for family in found.values():
        assert family.type == "gauge"
        assert family.documentation.endswith(".")
    waiting = found[f"{PREFIX}jobs_waiting"].samples
    assert {sample.labels["queue"]: sample.value for sample in waiting} == {"default": 0.0, "mail": 1.0}


def test_the_name_of_a_queue_may_have_characters_that_the_format_escapes():
    # queue_name() accepts the first two; only a row that is written by hand has the last.
    names = ['a "b" \\n c', "{x=1}", "a\nb"]
    for name in names:
        due(name)
    waiting = families(get("/jobs/metrics"))[f"{PREFIX}jobs_waiting"].samples
    assert {sample.labels["queue"] for sample in waiting} == {"default", *names}


def test_as_json_the_numbers_are_those_of_the_snapshot():
    due("mail")
    response = get("/jobs/metrics.json")
    assert response["Content-Type"] == "application/json"
    found = json.loads(response.content)
    assert found["queues"]["mail"]["waiting"] == found["waiting"] == found["lanes"] == 1


@pytest.mark.parametrize("path", PATHS)
def test_an_unavailable_database_gives_a_503_without_details(path, monkeypatch, caplog):
    def away():
        raise OperationalError("connection to 10.0.0.7 refused")

    monkeypatch.setattr(pages, "snapshot", away)
    response = get(path)
    assert (response.status_code, response.content) == (503, b"The queue cannot be read.\n")
    assert "The numbers of the queue cannot be read: connection to 10.0.0.7 refused" in caplog.messages


@pytest.mark.parametrize("path", PATHS)
def test_the_pages_begin_no_transaction(path, monkeypatch):
    # With ATOMIC_REQUESTS, an unavailable database would raise its error before the view is called.
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    monkeypatch.setattr(pages, "snapshot", lambda: (_ for _ in ()).throw(OperationalError("away")))
    atomic = []
    monkeypatch.setattr("django.db.transaction.Atomic.__enter__", lambda self: atomic.append(self))
    monkeypatch.setattr("django.db.transaction.Atomic.__exit__", lambda self, *error: None)
    assert get(path).status_code == 503
    assert atomic == []
