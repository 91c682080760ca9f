"""The list of workers, and the requests of an operator to them."""

import json
from datetime import timedelta
from types import ModuleType

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path, reverse
from django.utils import timezone
from django_delayed import claiming
from django_delayed.admin import WorkerProcessAdmin
from django_delayed.models import WorkerProcess, WorkerRequest
from django_delayed.states import State
from tests.admin.pages import said

LIST = "/admin/django_delayed/workerprocess/"
W1, W2 = "1" * 32, "2" * 32
VIEW, CONTROL, VIEW_JOBS = "view_workerprocess", "control_workerprocess", "view_delayedjob"
ACTIONS = ("quiet", "resume", "stop")


@pytest.fixture
def worker(db):
    """Write the row of a worker."""

    def write(id=W1, **columns):
        now = timezone.now()
        given = {"hostname": "web-2", "pid": 77, "started_at": now, "heartbeat_at": now}
        return WorkerProcess.objects.create(id=id, **(given | columns))

    return write


def post(client, action, *workers, **data):
    return client.post(LIST, {"action": action, "_selected_action": workers, **data})


def asked():
    return list(WorkerRequest.objects.order_by("pk").values_list("worker", "verb", "requested_by"))


def test_a_line_says_what_a_worker_is_and_does(signed_in, worker, job):
    row = job(State.RUNNING, name="Post.<b>")
    worker(
        name="mailer <1>",
        processed=1234,
        failed=56,
        quiet=True,
        slots=json.dumps([[row.pk, 7200.5], None, [row.pk + 1, 0.1]]),
    )
    worker(W2, pid=78)
    text = signed_in(VIEW, VIEW_JOBS).get(LIST).text
    one, other = text[text.index("<tbody>") :].split("</tr>")[:2]
    address = reverse("admin:django_delayed_delayedjob_change", args=[row.pk])
    assert f'<a href="{address}">Post.&lt;b&gt; #{row.pk}</a>' in one
    # This job has ended since the heartbeat.
    assert f"#{row.pk + 1} <time" in one
    assert "<h1>Workers</h1>" in text
    assert f'<span class="delayed-about">{W2}</span>' in other
    for words in ("mailer &lt;1&gt; web-2:77", ">1234<", ">56<", ">quiet<", "2\xa0hours ago"):
        assert words in one
        assert words not in other


def test_a_line_counts_the_free_slots(signed_in, worker, job):
    worker(slots=json.dumps([[job(State.RUNNING).pk, 1], None, None]))
    worker(W2, slots=json.dumps([[job(State.RUNNING).pk, 1]]))
    text = signed_in(VIEW, VIEW_JOBS).get(LIST).text
    assert "2 of 3 slots free" in text
    assert text.count("slots free") == 1


def test_only_users_who_may_view_jobs_see_the_queues_without_a_worker(signed_in, worker, job):
    claiming.forget_lanes()
    worker(queues="mail", slots="[null]")
    for queue in ("mail", "<b>reports"):
        job(State.ENQUEUED, queue=queue)
    words = "The queue “&lt;b&gt;reports” has jobs that are due, and no worker."
    assert words not in signed_in(VIEW).get(LIST).text
    client = signed_in(VIEW, VIEW_JOBS)
    text = client.get(LIST).text
    assert words in text
    assert "“mail”" not in text
    WorkerProcess.objects.update(queues="")
    assert words not in client.get(LIST).text
    claiming.forget_lanes()


def test_users_who_may_not_view_jobs_see_only_their_ids(signed_in, worker, job):
    row = job(State.RUNNING, name="Post.secret")
    worker(slots=json.dumps([[row.pk, 1]]))
    text = signed_in(VIEW).get(LIST).text
    assert f"#{row.pk}" in text
    assert "Post.secret" not in text


def test_the_number_of_queries_does_not_depend_on_the_number_of_workers(signed_in, worker, job):
    client = signed_in(VIEW, VIEW_JOBS)
    worker(slots=json.dumps([[job(State.RUNNING).pk, 1]]))
    with CaptureQueriesContext(connection) as few:
        client.get(LIST)
    for number in range(5):
        worker(str(number) * 31, slots=json.dumps([[job(State.RUNNING).pk, 1]]))
    with CaptureQueriesContext(connection) as many:
        client.get(LIST)
    assert len(few) == len(many)


def test_a_site_without_jobs_lists_workers(settings, signed_in, worker):
    site = admin.AdminSite(name="workers")
    site.register(WorkerProcess, WorkerProcessAdmin)
    urls = ModuleType("a_site_of_workers")
    urls.urlpatterns = [path("admin/", site.urls)]
    settings.ROOT_URLCONF = urls
    worker(slots="[[7, 1]]")
    assert "#7" in signed_in(VIEW, VIEW_JOBS).get(LIST).text


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("quiet", "2 workers were asked to be quiet."),
        ("resume", "2 workers were asked to go on."),
        ("stop", "2 workers were asked to stop."),
    ],
)
def test_a_request_to_the_chosen_workers_is_stored_and_logged(signed_in, worker, action, message):
    worker(name="mailer", pid=7), worker(W2, pid=8), worker("3" * 32)
    client = signed_in(VIEW, CONTROL)
    response = post(client, action, W1, W2, confirmed="yes")
    user = response.wsgi_request.user
    assert asked() == [(id, action, user.get_username()) for id in (W1, W2)]
    assert said(response) == [message]
    entry = LogEntry.objects.get()
    assert (entry.user, entry.content_type.model, entry.object_id) == (user, "workerprocess", None)
    both = "name:mailer host:web-2 pid:7, host:web-2 pid:8"
    assert entry.change_message == f"{action}: 2 of 2: {both}"
    assert entry.object_repr == both


def test_only_a_stop_asks_for_confirmation(signed_in, worker):
    worker(), worker(W2)
    client = signed_in(VIEW, CONTROL)
    question = post(client, "stop", W1, W2)
    assert "Stop 2 workers?" in question.text
    assert not WorkerRequest.objects.exists()
    assert not LogEntry.objects.exists()
    # The form of the question, as it is sent without JavaScript.
    answer = {"action": "stop", "confirmed": "yes", "_selected_action": [W1, W2]}
    for name, value in ((name, value) for name, values in answer.items() for value in [values]):
        for each in [value] if isinstance(value, str) else value:
            assert f'<input type="hidden" name="{name}" value="{each}">' in question.text
    assert post(client, "quiet", W1).status_code == 302
    assert [verb for _, verb, _ in asked()] == ["quiet"]


def test_a_worker_that_is_gone_is_reported(signed_in, worker):
    worker()
    response = post(signed_in(VIEW, CONTROL), "quiet", W1, W2)
    assert said(response) == ["1 worker was asked to be quiet.", "1 worker is gone."]
    WorkerProcess.objects.all().delete()
    response = post(response.client, "stop", W1)
    assert said(response)[-1] == "1 worker is gone."
    assert LogEntry.objects.count() == 1


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("may", [(), (VIEW,), (CONTROL,), (VIEW, CONTROL)], ids="-".join)
def test_only_users_who_may_control_workers_see_and_use_the_actions(signed_in, worker, action, may):
    worker()
    client = signed_in(*may)
    allowed = set(may) == {VIEW, CONTROL}
    assert (f'<option value="{action}">' in client.get(LIST).text) == allowed
    assert ("Stop 1 worker?" in post(client, "stop", W1).text) == allowed
    post(client, action, W1, confirmed="yes")
    assert bool(asked()) == allowed


@pytest.mark.parametrize("action", ACTIONS)
def test_a_post_without_a_token_and_a_get_change_nothing(staff, worker, action):
    worker()
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff(VIEW, CONTROL))
    assert post(client, action, W1, confirmed="yes").status_code == 403
    client.get(LIST, {"action": action, "_selected_action": W1, "confirmed": "yes"})
    assert asked() == []


@pytest.mark.parametrize("id", ["", "\0", "1\0", "é" * 32, "1 OR 1", "1" * 5000])
def test_an_invalid_id_of_a_worker_sends_no_request(signed_in, worker, id):
    worker()
    client = signed_in(VIEW, CONTROL)
    assert post(client, "quiet", id).status_code in (302, 400)
    assert asked() == []


def test_the_start_of_a_running_job_is_counted_from_the_heartbeat():
    at = timezone.now()
    row = WorkerProcess(heartbeat_at=at, slots="[[5, 1.5], null]")
    assert row.current_jobs == [(5, at - timedelta(seconds=1.5)), None]
