import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_delayed.models import DelayedJob, Progress, WorkerProcess
from django_delayed.serialization import arguments
from django_delayed.states import State
from tests.admin.pages import said


@pytest.fixture
def opened(operator, page):
    """The text of the page of this job."""

    def open_page(row):
        response = operator.get(page(row.pk, of="change"))
        assert response.status_code == 200
        return response.text

    return open_page


@pytest.mark.parametrize("state", State)
def test_the_page_opens_in_every_state(opened, job, state):
    assert f'<span class="delayed-state delayed-{state.value}">{state.label}</span>' in opened(job(state))


def test_the_page_says_what_is_called_with_which_arguments(opened, job):
    assert "send_to_twitter(3, y=4) on shop.post 9" in opened(job())


@pytest.mark.parametrize("text", ["call", "mail"])
def test_the_page_masks_secrets(opened, job, text):
    given = {"job": "a:B", "args": [], "kwargs": {"password": "s3cret", "to": "ada"}}
    if text == "mail":
        given = {"job": "mail", "message": {"to": ["ada"], "extra_headers": {"Authorization": "s3cret"}}}
    page = opened(job(payload=json.dumps(given)))
    assert "s3cret" not in page
    assert page.count("ada") >= 2


def test_the_page_masks_secrets_in_deeply_nested_arguments(opened, job):
    deep = {"password": "s3cret"}
    for _ in range(arguments.DEEPEST - 2):
        deep = (deep,)
    given = {"job": "a:B", **arguments.encode_call([], {"deep": deep, "to": "ada"})}
    page = opened(job(payload=arguments.to_json(given)))
    assert "s3cret" not in page
    assert "ada" in page


def test_the_page_has_the_whole_error(opened, job):
    row = job(last_error="ValueError: no\n\n" + "\n".join(f"  line {number}" for number in range(2000)))
    text = opened(row)
    assert "  line 0\n" in text
    assert "  line 1999</pre>" in text


def test_the_page_has_every_failed_attempt(opened, job, failed_attempt, worker):
    row = job()
    for number in range(1, 11):
        failed_attempt(row, number, error_message=f"hung up {number} times", error=f"traceback {number}")
    failed_attempt(job(), 1, error_message="of another job")
    text = opened(row)
    assert re.findall(r'<th scope="row">(\d+)</th>', text) == [str(number) for number in range(1, 11)]
    for number in range(1, 11):
        assert f"ConnectionError: hung up {number} times" in text
        assert f"traceback {number}</pre>" in text
    assert "host:web-2 pid:77" in text
    assert "of another job" not in text


def test_the_attempt_of_a_worker_that_is_gone_names_its_host(opened, job, failed_attempt):
    row = job()
    failed_attempt(row, hostname="web-9")
    assert f"<td>web-9 {'w' * 32}</td>" in opened(row)


def test_attempts_need_no_permission_of_their_own(client, staff, page, job, failed_attempt):
    row = job()
    failed_attempt(row)
    client.force_login(staff("view_delayedjob"))
    assert "Timeline of attempts" in client.get(page(row.pk, of="change")).text


def test_the_page_of_a_running_job_names_its_worker(opened, job, worker):
    assert "host:web-2 pid:77" in opened(job(State.RUNNING))


def test_a_worker_that_is_gone_is_named_by_its_id(opened, job):
    assert "w" * 32 in opened(job(State.RUNNING))


def test_a_kept_result_is_shown(opened, job):
    assert "41.5" in opened(job(State.FINISHED, result='{"total": 41.5}'))


@pytest.mark.parametrize(
    "payload", ["", "{", "null", "[]", '{"job": 7}', '{"args": 5, "kwargs": []}', "\x01 € "]
)
def test_the_page_of_a_job_with_an_invalid_payload_opens(opened, job, payload):
    opened(job(payload=payload))


def test_the_page_of_a_job_without_code_opens(opened, job):
    payload = json.dumps(
        {"job": "gone.jobs:Gone", "args": [1], "kwargs": {}, "language": "xx", "timezone": 7}
    )
    assert "Gone(1)" in opened(job(payload=payload))


def test_the_page_imports_no_code_of_the_job(opened, job, monkeypatch, tmp_path):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    opened(job(payload=json.dumps({"job": "trap:Trap", "args": [], "kwargs": {}})))


def test_a_large_payload_is_cut_on_the_page(opened, job):
    payload = json.dumps({"job": "a:B", "args": ["x" * 5_000_000], "kwargs": {}})
    text = opened(job(payload=payload))
    assert len(text) < 300_000
    assert re.search("… and [0-9,]+ more characters", text)


def test_markup_in_the_texts_of_a_job_is_escaped(opened, job, failed_attempt):
    evil = "</pre><script>alert(1)</script>"
    row = job(
        name=evil,
        queue=evil,
        about=evil,
        last_error=evil,
        payload=json.dumps({"job": f"a:{evil}", "args": [evil], "kwargs": {evil: evil}}),
        result=evil,
    )
    failed_attempt(row, error_class=evil, error_message=evil, error=evil, worker=evil)
    broken = job(payload=evil)
    assert "<script>alert" not in opened(row)
    assert "<script>alert" not in opened(broken)


def test_the_number_of_queries_does_not_depend_on_the_number_of_attempts(opened, job, failed_attempt):
    row = job()
    failed_attempt(row)
    opened(row)
    with CaptureQueriesContext(connection) as few:
        opened(row)
    for number in range(2, 11):
        failed_attempt(row, number, worker=str(number))
    with CaptureQueriesContext(connection) as many:
        opened(row)
    assert len(many) == len(few) <= 12


def test_the_page_has_no_field_to_edit(opened, job):
    text = opened(job())
    form = text[text.index('<form method="post" id="delayedjob_form"') : text.index("submit-row")]
    assert re.findall("<(?:input|select|textarea)[^>]*", form.replace("csrfmiddlewaretoken", "")) == [
        tag
        for tag in re.findall("<(?:input|select|textarea)[^>]*", form.replace("csrfmiddlewaretoken", ""))
        if 'type="hidden"' in tag
    ]
    assert 'name="_save"' not in text


def test_an_edit_is_refused(operator, page, job):
    row = job()
    before = DelayedJob.objects.values().get(pk=row.pk)
    assert operator.post(page(row.pk, of="change"), {"queue": "other", "_save": "Save"}).status_code == 403
    assert operator.post(page(row.pk, of="delete"), {"post": "yes"}).status_code == 403
    assert operator.post(page(of="add"), {"name": "new", "payload": "{}"}).status_code == 403
    assert DelayedJob.objects.values().get() == before


def test_even_a_superuser_cannot_edit_a_row(client, page, job):
    client.force_login(User.objects.create_superuser("root"))
    row = job()
    assert client.post(page(row.pk, of="change"), {"queue": "other"}).status_code == 403
    assert client.post(page(row.pk, of="delete"), {"post": "yes"}).status_code == 403


@pytest.mark.parametrize(
    ("state", "offered"),
    [
        (State.SCHEDULED, ["run_now", "adjust", "discard"]),
        (State.ENQUEUED, ["adjust", "discard"]),
        (State.RUNNING, ["cancel"]),
        (State.RETRYING, ["run_now", "adjust", "give_up", "discard"]),
        (State.FAILED, ["retry", "discard"]),
        (State.FINISHED, ["discard"]),
    ],
)
def test_a_job_offers_what_its_state_allows(opened, job, state, offered):
    row = job(state)
    tools = opened(row).split('class="object-tools"')[1].split("</ul>")[0]
    assert re.findall(rf"/{row.pk}/(\w+)/\"", tools) == [*offered, "history"]


@pytest.mark.parametrize(
    "key", ["404", "9" * 30, pytest.param("9" * 5000, id="5000 digits"), "nonsense", "5\0", "_3A", "ca/uses"]
)
@pytest.mark.parametrize(
    "name", ["change", "history", "retry", "run_now", "adjust", "give_up", "discard", "cancel"]
)
def test_a_job_that_is_gone_redirects_to_the_list_with_a_message(operator, page, key, name):
    response = operator.get(page(key, of=name, _changelist_filters="state=failed"))
    assert response.url == page(state="failed")
    assert said(response)[0].endswith("is gone: it was performed or discarded.")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State.ENQUEUED, "It has not been performed yet."),
        (State.RUNNING, "It is being performed."),
        (State.RETRYING, "Its last attempt failed, and it will be tried again."),
    ],
)
def test_a_job_that_may_change_soon_has_a_link_to_look_again(opened, page, job, state, words):
    row = job(state)
    text = opened(row)
    assert words in text
    assert f'<a href="{page(row.pk, of="change")}">Look again</a>' in text


@pytest.mark.parametrize("state", [State.SCHEDULED, State.FAILED, State.FINISHED])
def test_a_job_that_does_not_change_soon_has_no_link_to_look_again(opened, job, state):
    text = opened(job(state))
    assert "Look again" not in text
    assert ("It passed." in text) == (state == State.FINISHED)


@pytest.mark.parametrize("move", ["retry", "run_now"])
def test_a_job_that_was_moved_on_its_page_is_kept_for_an_hour_after_it_finished(operator, page, job, move):
    row = job({"retry": State.FAILED, "run_now": State.SCHEDULED}[move])
    response = operator.post(page(row.pk, of=move), {"confirmed": "yes"})
    assert response.url == page(row.pk, of="change")
    [held] = DelayedJob.objects.claim("w")
    assert DelayedJob.objects.finish(held)
    row.refresh_from_db()
    assert row.expires_at - row.finished_at == timedelta(hours=1)
    assert "It passed." in operator.get(response.url).text


@pytest.mark.parametrize(
    "columns",
    [
        {"run_at": datetime(9999, 12, 31, 23, 30, tzinfo=UTC)},
        {"created_at": datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)},
        {"failed_at": datetime(1000, 1, 1, 0, 30, tzinfo=UTC)},
        {"payload": r'{"job": "shop.jobs:Clean", "args": ["\udce9"], "kwargs": {"\ud800": "\udfff"}}'},
        {"payload": r'"\ud800"'},
        {"result": r'["\udcff"]'},
        {"payload": '{"job": "a:b", "args": [' + "[" * 5000, "result": "[" * 100_000},
        {"payload": '{"job": "a:b", "args": [1' + "0" * 5000 + '], "kwargs": {}}'},
        {"last_error": "", "error_class": "", "error_fingerprint": "a/b?c&d<e"},
    ],
    ids=lambda columns: f"{next(iter(columns))}-{str(columns)[-40:-10]}",
)
@pytest.mark.parametrize("zone", ["Pacific/Auckland", "America/Los_Angeles"])
def test_rows_with_values_that_no_enqueue_writes_are_listed_and_open(
    operator, page, cause_page, job, columns, zone
):
    with timezone.override(zone):
        row = job(**columns)
        for address in [
            *(page(), cause_page(), page(state="failed")),
            *(page(row.pk, of=name) for name in ("change", "retry", "discard")),
        ]:
            assert operator.get(address).status_code == 200


def test_times_have_seconds_and_a_zone(opened, job):
    row = job(failed_at=timezone.now() - timedelta(days=1))
    local = timezone.localtime(row.failed_at)
    assert f"{local:%H:%M:%S} {local.tzname()}" in opened(row)


def test_workers_are_listed_with_their_heartbeat(operator, staff, client, worker):
    long_ago = timezone.now() - timedelta(hours=1)
    WorkerProcess.objects.create(
        id="x" * 32,
        hostname="web-3",
        pid=78,
        queues="mail,index",
        max_priority=5,
        started_at=long_ago,
        heartbeat_at=long_ago,
    )
    client.force_login(staff("view_workerprocess"))
    text = client.get("/admin/django_delayed/workerprocess/").text
    alive, silent = text[text.index("<tbody>") :].split("</tr>")[:2]
    assert "web-2" in alive
    assert 'alt="True"' in alive
    assert "mail, index" in silent
    assert 'alt="False"' in silent
    assert "1\xa0hour ago" in silent


def test_the_page_shows_the_progress_of_a_job(opened, job):
    row = job(State.RUNNING)
    assert "<progress" not in opened(row)
    said = {"done": 1200, "total": 5000, "note": "<script>alert(1)</script>", "updated_at": timezone.now()}
    Progress.objects.create(pk=row.pk, **said)
    text = opened(row)
    assert '<progress max="1" value="0.2400" aria-label="Progress">1,200 of 5,000</progress>' in text
    assert "<bdi>&lt;script&gt;alert(1)&lt;/script&gt;</bdi>" in text


def test_the_progress_of_a_job_without_attempts_is_not_read(operator, page, job):
    row = job(State.ENQUEUED)
    with CaptureQueriesContext(connection) as captured:
        operator.get(page(row.pk, of="change"))
    assert not any("django_delayed_progress" in query["sql"] for query in captured)
