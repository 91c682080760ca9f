import json
from types import ModuleType

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import path
from django_delayed.admin import (
    DelayedJobAdmin,
    FailureGroupAdmin,
    PausedQueueAdmin,
    WorkerProcessAdmin,
)
from django_delayed.models import DelayedJob, FailureGroup, PausedQueue, WorkerProcess, WorkerRequest
from django_delayed.states import State
from tests.admin.pages import form_of

VIEW, RETRY, DISCARD = "view_delayedjob", "retry_delayedjob", "discard_delayedjob"
ARGUMENTS = "view_arguments_delayedjob"
RUN_NOW, CANCEL = "run_now_delayedjob", "cancel_delayedjob"
ADJUST, GIVE_UP = "adjust_delayedjob", "give_up_delayedjob"
NOTE, PAUSE = "note_failuregroup", "pause_queue"
# Each move, its permission, and a state in which a job can be moved so.
MOVES = [
    ("retry", RETRY, State.FAILED),
    ("run_now", RUN_NOW, State.SCHEDULED),
    ("give_up", GIVE_UP, State.RETRYING),
    ("discard", DISCARD, State.FAILED),
    ("cancel", CANCEL, State.RUNNING),
]
PEOPLE = {
    "nobody": None,
    "a customer": None,
    "staff without permissions": (),
    "somebody who may only retry": (RETRY,),
    "a viewer": (VIEW,),
    "somebody who may only see arguments": (ARGUMENTS,),
    "a viewer of arguments": (VIEW, ARGUMENTS),
    "somebody who may edit and delete": (VIEW, "change_delayedjob", "delete_delayedjob", "add_delayedjob"),
    "a viewer who may retry": (VIEW, RETRY),
    "a viewer who may discard": (VIEW, DISCARD),
    "a viewer who may run jobs now": (VIEW, RUN_NOW),
    "a viewer who may end jobs": (VIEW, CANCEL),
    "a viewer who may give up jobs": (VIEW, GIVE_UP),
    "somebody who may only change waiting jobs": (ADJUST,),
    "a viewer who may change waiting jobs": (VIEW, ADJUST),
    "somebody who may only write notes": (NOTE,),
    "a viewer who may write notes": (VIEW, NOTE),
    "somebody who may only pause queues": (PAUSE,),
    "a viewer who may pause queues": (VIEW, PAUSE),
    "an operator": (VIEW, RETRY, RUN_NOW, ADJUST, GIVE_UP, DISCARD, CANCEL),
}


@pytest.fixture(params=PEOPLE)
def person(request, client, staff):
    """The test client, signed in as each of these people; `may` has their permissions."""
    codenames = PEOPLE[request.param]
    if codenames is not None:
        client.force_login(staff(*codenames))
    elif request.param == "a customer":
        client.force_login(User.objects.create_user("customer"))
    known = (VIEW, ARGUMENTS, RETRY, RUN_NOW, ADJUST, GIVE_UP, DISCARD, CANCEL, NOTE, PAUSE)
    client.may = {action for action in known if action in (codenames or ())}
    return client


@pytest.fixture
def rows():
    """The values of all rows in the database, including the requests to workers."""
    models = (DelayedJob, WorkerRequest, FailureGroup, PausedQueue)
    return lambda: [list(rows.objects.order_by("pk").values()) for rows in models]


@pytest.fixture
def jobs(job, worker):
    return [job(state, error_fingerprint="c1") for state in State]


def test_only_users_with_the_view_permission_see_the_pages(person, page, cause_page, queue_page, jobs):
    for address in [
        page(),
        queue_page(),
        queue_page(of="numbers"),
        cause_page(),
        *(cause_page(of=name, cause="c1") for name in ("cause", "download")),
        *(page(row.pk, of=name) for row in jobs for name in ("change", "facts")),
        page(jobs[0].pk, of="history"),
    ]:
        assert (person.get(address).status_code == 200) == (VIEW in person.may)


def test_only_users_with_the_view_permission_see_errors(person, page, cause_page, jobs):
    texts = [
        person.get(page(row.pk, of=name)).text
        for row in jobs
        for name in ("change", "facts", "retry", "discard")
    ]
    for name in ("changelist", "cause", "retry", "discard", "download"):
        address = cause_page(of=name, cause="c1")
        texts += [person.get(address).getvalue().decode(), person.post(address).getvalue().decode()]
    texts.append(person.post(cause_page(of="note", cause="c1"), {"note": "x" * 5000}).text)
    assert any("hung up" in text for text in texts) == (VIEW in person.may)


MAIL = {
    "class": "EmailMessage",
    "subject": "Reset",
    "body": "https://example.com/reset/s3cret",
    "to": ["a@b.c"],
}
WITH_SECRETS = {
    "an argument": {"job": "a:B", "args": ["s3cret"], "kwargs": {}},
    "a named argument": {"function": "a:b", "args": [], "kwargs": {"note": "s3cret"}},
    "a mail": {"job": "mail", "message": MAIL, "using": None},
    "no job at all": {"s3cret": 5},
}


@pytest.mark.parametrize("kind", WITH_SECRETS)
def test_arguments_and_mails_need_a_permission_of_their_own(person, page, job, kind):
    row = job(name="B.b", payload=json.dumps({"v": 1, **WITH_SECRETS[kind]}), result='"s3cret"')
    texts = [
        person.get(page(row.pk, of=name)).text for name in ("change", "facts", "retry", "discard", "history")
    ]
    texts.append(person.get(page()).text)
    assert any("s3cret" in text for text in texts) == ({VIEW, ARGUMENTS} <= person.may)
    if VIEW in person.may and ARGUMENTS not in person.may:
        assert '<code class="delayed-call">B.b</code>' in texts[0]
        assert "You have no permission to view the arguments." in texts[0]


@pytest.mark.parametrize(("action", "permission", "state"), MOVES)
def test_an_action_is_offered_only_to_users_with_its_permission(
    person, page, jobs, action, permission, state
):
    row = next(row for row in jobs if row.state == state)
    may = {VIEW, permission} <= person.may
    assert (f'<option value="{action}">' in person.get(page()).text) == may
    assert (f"/{row.pk}/{action}/" in person.get(page(row.pk, of="change")).text) == may
    assert (person.get(page(row.pk, of=action)).status_code == 200) == may


@pytest.mark.parametrize(("action", "permission"), [("retry", RETRY), ("discard", DISCARD)])
def test_an_action_on_a_cause_is_offered_only_to_users_with_its_permission(
    person, page, cause_page, job, action, permission
):
    job(error_fingerprint="c1")
    watched = job(State.RETRYING, error_fingerprint="c1")
    address = cause_page(of=action, cause="c1")
    may = {VIEW, permission} <= person.may
    for shown in (cause_page(), cause_page(of="cause", cause="c1"), page(watched.pk, of="change")):
        assert (address in person.get(shown).text) == may
    assert (person.get(address).status_code == 200) == may
    for shown in (cause_page(), cause_page(of="cause", cause="c1")):
        text = person.get(shown).text
        assert (cause_page(of="retry_one", cause="c1") in text) == ({VIEW, RETRY} <= person.may)
    assert (cause_page(of="note", cause="c1") in text) == ({VIEW, NOTE} <= person.may)


@pytest.mark.parametrize(
    ("name", "permission"), [("retry_one", RETRY), ("retry", RETRY), ("discard", DISCARD), ("note", NOTE)]
)
def test_a_forged_post_about_a_cause_changes_nothing_without_its_permission(
    person, cause_page, job, rows, name, permission
):
    job(error_fingerprint="c1")
    before = rows()
    forged = {"confirmed": "yes", "as_of": "2100-01-01T00:00:00+00:00", "note": "forged"}
    person.post(cause_page(of=name, cause="c1"), forged)
    assert (rows() != before) == ({VIEW, permission} <= person.may)


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_only_users_with_the_permission_pause_and_resume_queues(person, queue_page, job, rows, verb):
    job(State.ENQUEUED, queue="images")
    PausedQueue.objects.create(queue="mail", paused_at="2026-01-01T00:00:00+00:00")
    may = {VIEW, PAUSE} <= person.may
    assert (queue_page(of=verb) in person.get(queue_page()).text) == may
    before = rows()
    person.post(queue_page(of=verb), {"queue": "images" if verb == "pause" else "mail"})
    assert (rows() != before) == may


@pytest.mark.parametrize(("action", "permission", "state"), MOVES)
@pytest.mark.parametrize("where", ["list", "whole list", "page"])
def test_a_forged_post_changes_nothing_without_its_permission(
    person, page, jobs, rows, action, permission, state, where
):
    failed = next(row for row in jobs if row.state == state)
    across = {"select_across": "1", "as_of": "2100-01-01T00:00:00+00:00"} if where == "whole list" else {}
    data = {"action": action, "confirmed": "yes", "_selected_action": failed.pk, **across}
    before = rows()
    person.post(page(failed.pk, of=action) if where == "page" else page(), data)
    assert (rows() != before) == ({VIEW, permission} <= person.may)


@pytest.mark.parametrize("state", State)
def test_only_users_with_the_permission_adjust_a_waiting_job(person, page, job, rows, state):
    row = job(state)
    address = page(row.pk, of="adjust")
    may = {VIEW, ADJUST} <= person.may and row.claimable == 1
    assert (address in person.get(page(row.pk, of="change")).text) == may
    assert (person.get(address).status_code == 200) == may
    before = rows()
    person.post(address, form_of(row) | {"queue": "slow"})
    assert (rows() != before) == may


def test_nobody_edits_adds_or_deletes_a_row(person, page, jobs, rows):
    before = rows()
    for row in jobs:
        person.post(page(row.pk, of="change"), {"queue": "other", "payload": "{}", "_save": "Save"})
        person.post(page(row.pk, of="delete"), {"post": "yes"})
        person.post(page(), {"action": "delete_selected", "_selected_action": row.pk, "post": "yes"})
    person.post(page(of="add"), {"name": "new", "payload": "{}", "_save": "Save"})
    assert rows() == before


def test_a_get_changes_nothing(client, staff, page, cause_page, jobs, rows):
    operator = client
    operator.force_login(staff(VIEW, ARGUMENTS, RETRY, RUN_NOW, ADJUST, GIVE_UP, DISCARD, CANCEL, NOTE))
    before = rows()
    for name in ("change", "retry", "run_now", "adjust", "give_up", "discard", "cancel", "history"):
        for row in jobs:
            operator.get(page(row.pk, of=name, confirmed="yes", select_across="1", **form_of(row)))
    for name in ("changelist", "cause", "download", "note", "retry_one", "retry", "discard"):
        for value in ("none", "c1"):
            operator.get(
                cause_page(of=name, cause=value, confirmed="yes", as_of="2100-01-01T00:00:00+00:00", note="x")
            )
    operator.get(page(action="discard", confirmed="yes", select_across="1", _selected_action=jobs[0].pk))
    assert rows() == before


@pytest.mark.parametrize("action", ["retry", "run_now", "adjust", "give_up", "discard", "cancel"])
def test_a_post_without_a_token_is_refused(staff, page, cause_page, queue_page, job, rows, action):
    row = job(State.RETRYING if action in ("adjust", "give_up") else State.FAILED)
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff(VIEW, RETRY, RUN_NOW, ADJUST, GIVE_UP, DISCARD, NOTE, PAUSE))
    data = {**form_of(row), "queue": "slow", "action": action, "confirmed": "yes", "_selected_action": row.pk}
    before = rows()
    assert client.post(page(), data).status_code == 403
    assert client.post(page(row.pk, of=action), data).status_code == 403
    for name in ("retry_one", "retry", "discard", "note"):
        assert client.post(cause_page(of=name, cause="none"), data).status_code == 403
    for verb in ("pause", "resume"):
        assert client.post(queue_page(of=verb), {"queue": "mail"}).status_code == 403
    assert rows() == before


class OperationsSite(admin.AdminSite):
    site_header = "Operations"

    def has_permission(self, request):
        return request.user.is_active and request.user.username.startswith("view_")


@pytest.fixture
def two_sites(settings):
    """A second admin site, with a class of its own."""
    site = OperationsSite(name="operations")
    site.register(DelayedJob, DelayedJobAdmin)
    site.register(FailureGroup, FailureGroupAdmin)
    site.register(PausedQueue, PausedQueueAdmin)
    site.register(WorkerProcess, WorkerProcessAdmin)
    urls = ModuleType("two_sites")
    urls.urlpatterns = [path("admin/", admin.site.urls), path("operations/", site.urls)]
    settings.ROOT_URLCONF = urls


def test_every_page_of_a_second_site_links_only_to_that_site(
    two_sites, operator, page, cause_page, queue_page, job, failed_attempt
):
    row = job()
    failed_attempt(row)
    question = operator.post(
        page(site="operations"),
        {"action": "retry", "index": 0, "select_across": 0, "_selected_action": row.pk},
    )
    texts = [question.text, operator.get(page(site="operations")).text]
    texts += [
        operator.get(page(row.pk, of=name, site="operations")).text for name in ("change", "retry", "discard")
    ]
    waiting = job(State.RETRYING)
    texts += [
        operator.get(page(waiting.pk, of=name, site="operations")).text for name in ("adjust", "give_up")
    ]
    texts += [
        operator.get(cause_page(of=name, site="operations", cause="none")).text
        for name in ("changelist", "cause", "retry", "discard")
    ]
    texts.append(operator.get(queue_page(site="operations")).text)
    assert all("Operations" in text for text in texts)
    texts.append(operator.get(queue_page(of="numbers", site="operations")).text)
    for text in texts:
        assert "/operations/django_delayed/" in text
        assert 'href="/admin/' not in text


def test_operations_of_a_second_site_lead_back_to_it(two_sites, operator, page, job):
    row = job()
    confirmed = {"confirmed": "yes"}
    assert operator.post(page(row.pk, of="retry", site="operations"), confirmed).url == page(
        row.pk, of="change", site="operations"
    )
    assert operator.post(page(row.pk, of="discard", site="operations"), confirmed).url == page(
        site="operations"
    )
    assert not DelayedJob.objects.exists()


ADMIN_CLASSES = {
    DelayedJob: DelayedJobAdmin,
    FailureGroup: FailureGroupAdmin,
    PausedQueue: PausedQueueAdmin,
}


@pytest.fixture
def site_with(settings):
    """Create a second admin site that has only these models."""

    def create(**registered):
        site = OperationsSite(name="operations")
        for model, admin_class in ADMIN_CLASSES.items():
            if registered.get(model.__name__, False):
                site.register(model, admin_class)
        urls = ModuleType("two_sites")
        urls.urlpatterns = [path("admin/", admin.site.urls), path("operations/", site.urls)]
        settings.ROOT_URLCONF = urls

    return create


def test_a_site_may_have_jobs_without_causes(site_with, operator, page, job):
    site_with(DelayedJob=True)
    watched = job(State.RETRYING, error_fingerprint="c1")
    job(error_fingerprint="c1")
    for address in (page(site="operations"), page(watched.pk, of="change", site="operations")):
        response = operator.get(address)
        assert response.status_code == 200
        assert "failuregroup" not in response.text


def test_a_site_without_jobs_has_no_causes(site_with, operator, cause_page, queue_page):
    site_with(FailureGroup=True, PausedQueue=True)
    text = operator.get("/operations/").text
    assert "failuregroup" not in text
    assert "pausedqueue" not in text
    assert operator.get(queue_page(site="operations")).status_code == 403
    for name in ("changelist", "cause", "download", "retry", "note"):
        assert operator.get(cause_page(of=name, site="operations", cause="c1")).status_code == 403
