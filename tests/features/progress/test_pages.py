"""What users see of a job at its signed address: as a page, as JSON, and in a template of the project."""

import re
from datetime import timedelta

import pytest
from django.core import signing
from django.core.exceptions import ImproperlyConfigured
from django.template import Context, Template
from django.test import Client
from django.urls import resolve
from django_delayed import enqueue
from django_delayed.features.progress import tokens
from django_delayed.models import DelayedJob
from django_delayed.states import CANCELLED, State
from django_delayed.urls import progress_url
from tests.blog.jobs import Plain
from tests.blog.work import work_off

pytestmark = pytest.mark.django_db

JSON = {"accept": "application/json"}
WORDS = {
    State.SCHEDULED: "It waits for its turn.",
    State.ENQUEUED: "It waits for its turn.",
    State.RUNNING: "It is in progress.",
    State.RETRYING: "It did not succeed, and will be tried again.",
    State.FAILED: "It has failed.",
    State.FINISHED: "It is done.",
}


def tag(row, **context):
    arguments = f"row max_age={context.pop('max_age')}" if "max_age" in context else "row"
    template = Template(f"{{% load delayed_jobs %}}{{% job_progress {arguments} %}}")
    return template.render(Context({"row": row, **context}))


@pytest.mark.parametrize("state", State)
def test_the_page_shows_the_progress_of_the_job_and_nothing_else(client, job, state):
    row = job(state, 1200, 5000, "product <b>17</b>")
    path = progress_url(row)
    response = client.get(path)
    assert response.status_code == 200
    assert WORDS[state] in response.text
    assert "1,200 of 5,000" in response.text
    assert "product &lt;b&gt;17&lt;/b&gt;" in response.text
    is_over = state in (State.FINISHED, State.FAILED)
    assert ("progress.js" in response.text) == ("Look again" in response.text) == (not is_over)
    as_json = client.get(path, headers=JSON)
    assert as_json.json() == {
        "words": WORDS[state],
        "amount": "1,200 of 5,000",
        "note": "product <b>17</b>",
        "fraction": 1.0 if state == State.FINISHED else 0.24,
        "is_over": is_over,
    }
    for said in (response.text, as_json.text, tag(row)):
        assert "s3cret" not in said


def test_the_page_of_a_cancelled_job_says_so(client, job):
    row = job(State.FAILED, error_fingerprint=CANCELLED)
    assert client.get(progress_url(row), headers=JSON).json()["words"] == "It was cancelled."


@pytest.mark.parametrize(
    ("state", "said", "value"),
    [
        (State.RUNNING, (), None),
        (State.RUNNING, (3,), None),
        (State.RUNNING, (1, 4), "0.2500"),
        (State.ENQUEUED, (), "0.0000"),
        (State.RETRYING, (1, 4), "0.2500"),
        (State.FAILED, (), "0.0000"),
        (State.FINISHED, (), "1.0000"),
    ],
)
def test_the_bar_has_a_value_when_one_is_known(client, job, state, said, value):
    [bar] = re.findall("<progress[^>]*>", client.get(progress_url(job(state, *said))).text)
    assert re.findall('value="([^"]*)"', bar) == ([] if value is None else [value])
    assert 'aria-label="Progress"' in bar


def test_a_translated_page_has_localized_numbers_and_a_bar_value_for_html(client, job):
    path = progress_url(job(State.RUNNING, 1200.5, 5000))
    text = client.get(path, headers={"accept-language": "de"}).text
    assert '<html lang="de" dir="ltr">' in text
    assert "1.200,5 von 5.000" in text
    assert 'value="0.2401"' in text
    assert '<html lang="ar" dir="rtl">' in client.get(path, headers={"accept-language": "ar"}).text


def test_the_page_of_a_job_without_a_row_is_gone(client, job):
    row = job(State.FINISHED)
    path = progress_url(row)
    row.delete()
    for headers in ({}, JSON):
        response = client.get(path, headers=headers)
        assert response.status_code == 410
        assert "It has ended, and no record of it is kept." in response.text
    assert response.json()["is_over"] is True


def test_the_page_of_a_plain_job_is_gone_once_it_is_performed(client):
    path = progress_url(enqueue(Plain(1)))
    assert client.get(path).status_code == 200
    work_off()
    assert client.get(path).status_code == 410


def test_an_invalid_token_is_not_found(client, job):
    row = job()
    token = resolve(progress_url(row)).kwargs["token"]
    data, signature = token.rsplit(":", 1)
    another = signing.Signer(salt="another").sign_object([row.pk, 0])
    for wrong in (str(row.pk), "x", data, f"{data}:x", f"x{token}", f"{token}x", f":{signature}", another):
        assert client.get(f"/jobs/progress/{wrong}/").status_code == 404
    assert client.get(f"/jobs/progress/{'x' * 100_000}/").status_code == 404


def test_each_job_has_its_own_address(job):
    assert progress_url(job()) != progress_url(job())


def test_an_address_may_expire(client, job, monkeypatch):
    path = progress_url(job(), max_age=timedelta(hours=1))
    assert client.get(path).status_code == 200
    now = tokens.time.time()
    monkeypatch.setattr(tokens.time, "time", lambda: now + 3601)
    response = client.get(path)
    assert response.status_code == 403
    assert client.get(path, headers=JSON).status_code == 403


@pytest.mark.parametrize(
    ("max_age", "error"),
    [(0, ValueError), (-1, ValueError), ("1h", TypeError), (True, TypeError), (float("nan"), ValueError)],
)
def test_an_invalid_max_age_is_refused(job, max_age, error):
    with pytest.raises(error, match="max_age"):
        progress_url(job(), max_age=max_age)


@pytest.mark.parametrize("what", [None, 1, "one", Plain(1)])
def test_anything_but_a_row_is_refused(what):
    with pytest.raises(TypeError, match="Progress is shown for a DelayedJob, not for"):
        progress_url(what)
    with pytest.raises(TypeError):
        tag(what)


def test_an_unsaved_row_has_no_address_and_can_still_be_shown(settings):
    settings.DJANGO_DELAYED = {"DELAY_JOBS": False}
    row = enqueue(Plain(1))
    with pytest.raises(ValueError, match="has no row yet, or never gets one"):
        progress_url(row)
    shown = tag(row)
    assert "It is done." in shown
    assert "<script" not in shown


def test_without_our_urls_the_error_says_what_to_add(job, settings):
    settings.ROOT_URLCONF = "tests.playground.urls"
    with pytest.raises(ImproperlyConfigured, match=r'path\("jobs/", include\("django_delayed.urls"\)\)'):
        progress_url(job())


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_the_page_can_only_be_read(job, method):
    assert getattr(Client(), method)(progress_url(job())).status_code == 405


def test_the_page_is_not_cached(client, job):
    response = client.get(progress_url(job()))
    assert "no-store" in response["Cache-Control"]
    assert "Accept" in response["Vary"]
    assert client.head(progress_url(job())).status_code == 200


def test_a_request_takes_two_queries_and_reads_no_payload(client, job, django_assert_num_queries):
    path = progress_url(job(State.RUNNING, 1, 2))
    with django_assert_num_queries(2) as captured:
        client.get(path, headers=JSON)
    assert not any("payload" in query["sql"] for query in captured)


def test_the_tag_shows_the_job_in_a_template_of_the_project(job):
    row = job(State.RUNNING, 1, 4, "reading")
    shown = tag(row)
    assert "It is in progress." in shown
    assert "1 of 4" in shown
    assert f'data-job-progress="{progress_url(row)}"' in shown
    assert f'<a href="{progress_url(row)}">Look again</a>' in shown
    assert '<script type="module" src="/static/django_delayed/progress.js">' in shown
    assert "style=" not in shown
    assert not re.search(r"\son\w+=", shown)


def test_the_script_has_the_nonce_of_the_page(job):
    assert 'nonce="abc"' in tag(job(), csp_nonce="abc")


def test_the_tag_accepts_a_max_age(job):
    assert progress_url(job()) not in tag(DelayedJob.objects.get(), max_age=60)
