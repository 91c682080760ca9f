"""The line of the overview on the index of an admin site."""

from django.contrib import admin
from django.db import OperationalError, connection
from django.http import HttpResponse
from django.test.utils import CaptureQueriesContext
from django_delayed.admin import DelayedJobAdmin, PausedQueueAdmin, index_line
from django_delayed.models import DelayedJob, PausedQueue
from django_delayed.states import State
from tests.lanes import no_lanes_are_remembered

__all__ = ["no_lanes_are_remembered"]

INDEX = "/admin/"


def names(response):
    return {
        entry["object_name"]: str(entry["name"])
        for app in response.context["app_list"]
        for entry in app["models"]
    }


def test_the_index_says_how_many_jobs_failed_and_wait(operator, job):
    assert names(operator.get(INDEX))["PausedQueue"] == "Overview: 0 failed, 0 waiting"
    for state in (State.FAILED, State.FAILED, State.ENQUEUED, State.SCHEDULED, State.RETRYING):
        job(state)
    response = operator.get(INDEX)
    assert names(response)["PausedQueue"] == "Overview: 2 failed, 3 waiting, the oldest for 1\xa0hour"
    assert names(response)["DelayedJob"] == "Delayed jobs"
    assert "Overview: 2 failed, 3 waiting" in response.text


def test_the_line_takes_two_queries_and_none_without_the_view_permission(
    client, staff, operator, monkeypatch
):
    with CaptureQueriesContext(connection) as with_line:
        operator.get(INDEX)
    monkeypatch.setattr(index_line, "_line", lambda: "Overview")
    with CaptureQueriesContext(connection) as without:
        operator.get(INDEX)
    assert len(with_line) == len(without) + 2
    monkeypatch.undo()
    client.force_login(staff())
    with CaptureQueriesContext(connection) as queries:
        assert "PausedQueue" not in names(client.get(INDEX))
    assert not [query for query in queries if "delayedjob" in query["sql"]]


def test_no_other_page_asks_for_the_line(operator, page, monkeypatch):
    def fail():
        raise AssertionError

    monkeypatch.setattr(index_line, "_line", fail)
    assert operator.get(page()).status_code == 200
    assert operator.get("/admin/django_delayed/").status_code == 200


def test_the_index_opens_while_the_database_of_the_queue_is_unavailable(operator, monkeypatch):
    def fail():
        raise OperationalError("gone")

    monkeypatch.setattr(index_line, "_line", fail)
    assert names(operator.get(INDEX))["PausedQueue"] == "Overview"


class OwnSite(admin.AdminSite):
    answer = None

    def index(self, request, extra_context=None):
        return self.answer or super().index(request, (extra_context or {}) | {"own": "yes"})


def test_a_site_with_an_index_of_its_own_has_the_line_too(operator, rf, job, admin_user):
    job()
    site = OwnSite(name="own")
    for _ in range(2):
        site.register(PausedQueue, PausedQueueAdmin)
        site.unregister(PausedQueue)
    site.register(PausedQueue, PausedQueueAdmin)
    site.register(DelayedJob, DelayedJobAdmin)
    request = rf.get("/")
    request.user = admin_user
    with CaptureQueriesContext(connection) as queries:
        response = site.index(request)
    assert response.context_data["own"] == "yes"
    [[name]] = [
        [entry["name"] for entry in app["models"] if entry["model"] is PausedQueue]
        for app in response.context_data["app_list"]
    ]
    assert name == "Overview: 1 failed, 0 waiting"
    assert len([query for query in queries if "delayedjob" in query["sql"]]) == 2
    site.answer = HttpResponse("my own")
    assert site.index(request) is site.answer
