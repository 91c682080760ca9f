import json
from types import ModuleType

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import path
from django_delayed.admin import DelayedJobAdmin, WorkerProcessAdmin
from django_delayed.models import DelayedJob, WorkerProcess
from django_delayed.states import State

VIEW, RETRY, DISCARD = "view_delayedjob", "retry_delayedjob", "discard_delayedjob"
ARGUMENTS = "view_arguments_delayedjob"
RUN_NOW = "run_now_delayedjob"
# Each with its permission, and the state of a job with which it can be made.
MOVES = [
    ("retry", RETRY, State.FAILED),
    ("run_now", RUN_NOW, State.SCHEDULED),
    ("discard", DISCARD, State.FAILED),
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
    "an operator": (VIEW, RETRY, RUN_NOW, DISCARD),
}


@pytest.fixture(params=PEOPLE)
def person(request, client, staff):
    """The test client of somebody, and what they may do."""
    codenames = PEOPLE[request.param]
    if codenames is not None:
        client.force_login(staff(*codenames))
    elif request.param == "a customer":
        client.force_login(User.objects.create_user("customer"))
    known = (VIEW, ARGUMENTS, RETRY, RUN_NOW, DISCARD)
    client.may = {action for action in known if action in (codenames or ())}
    return client


@pytest.fixture
def rows():
    """All rows as they are in the database."""
    return lambda: list(DelayedJob.objects.order_by("pk").values())


@pytest.fixture
def jobs(job):
    return [job(state, error_fingerprint="c1") for state in State]


def test_who_may_view_sees_the_list_and_the_page_and_nobody_else_does(person, page, jobs):
    for address in [
        page(),
        page(of="causes"),
        *(page(row.pk, of="change") for row in jobs),
        page(jobs[0].pk, of="history"),
    ]:
        assert (person.get(address).status_code == 200) == (VIEW in person.may)


def test_who_may_not_view_is_not_told_what_failed(person, page, jobs):
    texts = [
        person.get(page(row.pk, of=name)).text for row in jobs for name in ("change", "retry", "discard")
    ]
    texts += [
        person.get(page(of=name, cause="c1")).text for name in ("causes", "retry_cause", "discard_cause")
    ]
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
    texts = [person.get(page(row.pk, of=name)).text for name in ("change", "retry", "discard", "history")]
    texts.append(person.get(page()).text)
    assert any("s3cret" in text for text in texts) == ({VIEW, ARGUMENTS} <= person.may)
    if VIEW in person.may and ARGUMENTS not in person.may:
        assert '<code class="delayed-call">B.b</code>' in texts[0]
        assert "You have no permission to view the arguments." in texts[0]


@pytest.mark.parametrize(("action", "permission", "state"), MOVES)
def test_an_action_is_offered_to_whoever_may_do_it(person, page, jobs, action, permission, state):
    row = next(row for row in jobs if row.state == state)
    may = {VIEW, permission} <= person.may
    assert (f'<option value="{action}">' in person.get(page()).text) == may
    assert (f"/{row.pk}/{action}/" in person.get(page(row.pk, of="change")).text) == may
    assert (person.get(page(row.pk, of=action)).status_code == 200) == may


@pytest.mark.parametrize(("action", "permission"), [("retry", RETRY), ("discard", DISCARD)])
def test_what_can_be_done_about_a_cause_is_offered_to_whoever_may_do_it(
    person, page, job, action, permission
):
    job(error_fingerprint="c1")
    watched = job(State.RETRYING, error_fingerprint="c1")
    address = page(of=f"{action}_cause", cause="c1")
    may = {VIEW, permission} <= person.may
    assert (address in person.get(page(of="causes")).text) == may
    assert (address in person.get(page(watched.pk, of="change")).text) == may
    assert (person.get(address).status_code == 200) == may
    assert (page(of="retry_one", cause="c1") in person.get(page(of="causes")).text) == (
        {VIEW, RETRY} <= person.may
    )


@pytest.mark.parametrize(
    ("name", "permission"), [("retry_one", RETRY), ("retry_cause", RETRY), ("discard_cause", DISCARD)]
)
def test_a_forged_post_about_a_cause_changes_nothing(person, page, job, rows, name, permission):
    job(error_fingerprint="c1")
    before = rows()
    person.post(page(of=name, cause="c1"), {"confirmed": "yes", "as_of": "2100-01-01T00:00:00+00:00"})
    assert (rows() != before) == ({VIEW, permission} <= person.may)


@pytest.mark.parametrize(("action", "permission", "state"), MOVES)
@pytest.mark.parametrize("where", ["list", "whole list", "page"])
def test_a_forged_post_of_somebody_who_may_not_changes_nothing(
    person, page, jobs, rows, action, permission, state, where
):
    failed = next(row for row in jobs if row.state == state)
    across = {"select_across": "1", "as_of": "2100-01-01T00:00:00+00:00"} if where == "whole list" else {}
    data = {"action": action, "confirmed": "yes", "_selected_action": failed.pk, **across}
    before = rows()
    person.post(page(failed.pk, of=action) if where == "page" else page(), data)
    assert (rows() != before) == ({VIEW, permission} <= person.may)


def test_nobody_edits_adds_or_deletes_a_row(person, page, jobs, rows):
    before = rows()
    for row in jobs:
        person.post(page(row.pk, of="change"), {"queue": "other", "payload": "{}", "_save": "Save"})
        person.post(page(row.pk, of="delete"), {"post": "yes"})
        person.post(page(), {"action": "delete_selected", "_selected_action": row.pk, "post": "yes"})
    person.post(page(of="add"), {"name": "new", "payload": "{}", "_save": "Save"})
    assert rows() == before


def test_looking_changes_nothing(operator, page, jobs, rows):
    before = rows()
    for name in ("change", "retry", "run_now", "discard", "history"):
        for row in jobs:
            operator.get(page(row.pk, of=name, confirmed="yes", select_across="1"))
    for name in ("causes", "retry_one", "retry_cause", "discard_cause"):
        operator.get(page(of=name, cause="none", confirmed="yes", as_of="2100-01-01T00:00:00+00:00"))
    operator.get(page(action="discard", confirmed="yes", select_across="1", _selected_action=jobs[0].pk))
    assert rows() == before


@pytest.mark.parametrize("action", ["retry", "run_now", "discard"])
def test_a_post_without_a_token_is_refused(staff, page, job, rows, action):
    row = job()
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff(VIEW, RETRY, RUN_NOW, DISCARD))
    data = {"action": action, "confirmed": "yes", "_selected_action": row.pk}
    before = rows()
    assert client.post(page(), data).status_code == 403
    assert client.post(page(row.pk, of=action), data).status_code == 403
    for name in ("retry_one", "retry_cause", "discard_cause"):
        assert client.post(page(of=name, cause="none"), data).status_code == 403
    assert rows() == before


class OperationsSite(admin.AdminSite):
    site_header = "Operations"

    def has_permission(self, request):
        return request.user.is_active and request.user.username.startswith("view_")


@pytest.fixture
def two_sites(settings):
    """A second admin site, of a class of its own, beside the first."""
    site = OperationsSite(name="operations")
    site.register(DelayedJob, DelayedJobAdmin)
    site.register(WorkerProcess, WorkerProcessAdmin)
    urls = ModuleType("two_sites")
    urls.urlpatterns = [path("admin/", admin.site.urls), path("operations/", site.urls)]
    settings.ROOT_URLCONF = urls


def test_every_page_of_a_second_site_stays_in_it(two_sites, operator, page, job, failed_attempt):
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
    texts += [
        operator.get(page(of=name, site="operations", cause="none")).text
        for name in ("causes", "retry_cause", "discard_cause")
    ]
    for text in texts:
        assert "Operations" in text
        assert "/operations/django_delayed/delayedjob/" in text
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
