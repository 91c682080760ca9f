"""An operator changes the time, the queue or the priority of a waiting job, or gives it up."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.utils import timezone
from django_delayed.admin import adjusting
from django_delayed.models import DelayedJob
from django_delayed.states import DelayedJobQuerySet, State
from tests.admin.pages import form_of, said

HOUR = timedelta(hours=1)
BERLIN = ZoneInfo("Europe/Berlin")


def columns_of(row):
    return DelayedJob.objects.values().get(pk=row.pk)


@pytest.fixture
def send(operator, page):
    """Send the form of this job with these fields changed."""

    def post(row, **changed):
        return operator.post(page(row.pk, of="adjust"), form_of(row, **changed))

    return post


@pytest.mark.parametrize("state", [State.SCHEDULED, State.ENQUEUED, State.RETRYING])
def test_the_form_shows_the_time_the_queue_and_the_priority_of_the_job(operator, page, job, state):
    row = job(state, queue="mail", priority=-7)
    text = operator.get(page(row.pk, of="adjust")).text
    assert f'value="{timezone.localtime(row.run_at):%Y-%m-%dT%H:%M:%S}"' in text
    assert 'name="queue" value="mail"' in text
    assert 'name="priority" value="-7"' in text


def test_all_fields_are_changed_at_once_and_logged(send, page, job):
    row = job(State.RETRYING)
    then = timezone.now().replace(microsecond=0) + 48 * HOUR
    before = columns_of(row)
    response = send(row, run_at=f"{timezone.localtime(then):%Y-%m-%dT%H:%M}", queue="slow", priority="-3")
    assert response.url == page(row.pk, of="change")
    assert said(response) == ["1 job changed."]
    then = then.replace(second=0)
    assert columns_of(row) == before | {"run_at": then, "queue": "slow", "priority": -3}
    [entry] = LogEntry.objects.all()
    assert (entry.object_id, entry.object_repr, entry.action_flag) == (str(row.pk), str(row), CHANGE)
    assert entry.change_message == (
        f"adjust: 1 of 1 (run_at: {row.run_at} → {then}, queue: default → slow, priority: 0 → -3): {row.pk}"
    )


@pytest.mark.parametrize(("name", "value"), [("queue", "slow"), ("priority", 5)])
def test_an_unchanged_time_keeps_its_microseconds(send, job, name, value):
    row = job(State.ENQUEUED)
    before = columns_of(row)
    assert before["run_at"].microsecond
    send(row, **{name: value})
    assert columns_of(row) == before | {name: value}


BAD = [
    ({"run_at": ""}, "This field is required."),
    ({"run_at": "2020-01-01T00:00"}, "This time has passed."),
    ({"run_at": "soon"}, "Enter a valid date/time."),
    ({"run_at": "9999-12-31T23:59"}, "run_at is out of range"),
    ({"run_at": "0001-01-01T00:00"}, "This time has passed."),
    ({"run_at": "2030-01-01T00:00" + "0" * 1_000_000}, "Enter a valid date/time."),
    ({"queue": ""}, "This field is required."),
    ({"queue": "  "}, "no space at its ends"),
    ({"queue": "a,b"}, "no comma"),
    ({"queue": "m*"}, "as patterns do"),
    ({"queue": "a\nb"}, "printable characters"),
    ({"queue": "a\0b"}, "Null characters are not allowed."),
    ({"queue": "x" * 256}, "at most 255 characters"),
    ({"queue": "x" * 1_000_000}, "at most 255 characters"),
    ({"priority": ""}, "This field is required."),
    ({"priority": "high"}, "Enter a whole number."),
    ({"priority": "1.5"}, "Enter a whole number."),
    ({"priority": str(2**31)}, "less than or equal to 2147483647"),
    ({"priority": str(-(2**31) - 1)}, "greater than or equal to -2147483648"),
    ({"priority": "9" * 1_000_000}, "Enter a whole number."),
    ({}, "Change the time, the queue or the priority."),
]


@pytest.mark.parametrize(
    ("changed", "problem"),
    BAD,
    ids=[f"{number} {''.join(changed)}" for number, (changed, _) in enumerate(BAD)],
)
def test_invalid_input_is_refused_at_its_field(send, job, changed, problem):
    row = job(State.SCHEDULED)
    before = columns_of(row)
    response = send(row, **changed)
    assert response.status_code == 200
    [[message]] = response.context["form"].errors.values()
    assert problem in message
    assert columns_of(row) == before
    assert not LogEntry.objects.exists()


def test_several_fields_may_be_wrong_at_once(send, job):
    response = send(job(State.SCHEDULED), run_at="", queue="", priority="")
    assert set(response.context["form"].errors) == {"run_at", "queue", "priority"}


@pytest.mark.parametrize(
    "columns",
    [
        {"run_at": datetime(9999, 12, 31, 23, 30, tzinfo=UTC)},
        {"run_at": datetime(1000, 1, 1, 0, 30, tzinfo=UTC)},
        {"queue": " a,b* "},
        {"queue": ""},
    ],
    ids=str,
)
def test_a_stored_value_that_no_enqueue_accepts_may_stay(send, operator, page, job, columns):
    row = job(State.SCHEDULED, **columns)
    before = columns_of(row)
    assert operator.get(page(row.pk, of="adjust")).status_code == 200
    response = send(row, priority="5")
    assert columns_of(row) == before | ({"priority": 5} if columns != {"queue": ""} else {})
    assert response.status_code == (302 if columns != {"queue": ""} else 200)


@pytest.mark.parametrize("fold", [0, 1])
def test_an_ambiguous_time_at_a_clock_change_may_stay(send, job, fold):
    with timezone.override(BERLIN):
        row = job(State.SCHEDULED, run_at=datetime(2030, 10, 27, 2, 30, tzinfo=BERLIN, fold=fold))
        before = columns_of(row)
        assert send(row, queue="slow").status_code == 302
        assert columns_of(row) == before | {"queue": "slow"}


def test_a_nonexistent_time_at_a_clock_change_is_refused(send, job):
    with timezone.override(BERLIN):
        response = send(job(State.SCHEDULED), run_at="2030-03-31T02:30")
    assert "interpreted in time zone" in response.context["form"].errors["run_at"][0]


@pytest.mark.parametrize(
    "change", [{"queue": "other"}, {"run_at": timezone.now() + 3 * HOUR}, {"attempts": 3}], ids=str
)
def test_a_form_of_a_job_that_has_changed_is_refused_and_shown_again(operator, page, job, change):
    row = job(State.RETRYING)
    form = form_of(row, priority="5")
    DelayedJob.objects.update(**change)
    before = columns_of(row)
    response = operator.post(page(row.pk, of="adjust"), form)
    assert said(response) == ["The job has changed meanwhile. This is how it is now."]
    assert columns_of(row) == before
    row.refresh_from_db()
    assert response.context["form"]["queue"].value() == row.queue
    assert operator.post(page(row.pk, of="adjust"), form_of(row, priority="5")).status_code == 302
    assert columns_of(row) == before | {"priority": 5}


def test_a_job_that_a_worker_has_claimed_meanwhile_is_left_alone(operator, page, job):
    row = job(State.ENQUEUED)
    form = form_of(row, queue="slow")
    assert DelayedJob.objects.claim("w" * 32) == [row]
    response = operator.post(page(row.pk, of="adjust"), form)
    assert response.url == page(row.pk, of="change")
    assert said(response) == ["Nothing to change: only a waiting job can be changed."]
    assert DelayedJob.objects.running().get().queue == "default"


@pytest.mark.parametrize("meanwhile", [{"locked_at": timezone.now()}, {"queue": "other"}], ids=str)
def test_a_job_that_is_moved_at_the_last_moment_is_not_overwritten(send, job, monkeypatch, meanwhile):
    row = job(State.SCHEDULED)
    adjust = DelayedJobQuerySet.adjust

    def move_first(self, **change):
        DelayedJob.objects.update(**meanwhile)
        return adjust(self, **change)

    monkeypatch.setattr(DelayedJobQuerySet, "adjust", move_first)
    response = send(row, priority="5")
    assert said(response)[0].startswith("0 changed, 1 skipped")
    assert DelayedJob.objects.get().priority == 0
    assert LogEntry.objects.get().change_message.startswith("adjust: 0 of 1 (priority: 0 → 5)")


def test_an_operation_that_fails_midway_is_in_the_log(send, job, monkeypatch):
    monkeypatch.setattr(adjusting, "complete_entry", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        send(job(State.SCHEDULED), queue="slow")
    assert "not completed (queue: default → slow)" in LogEntry.objects.get().change_message


def test_markup_in_the_texts_of_a_job_is_escaped(send, operator, page, job):
    evil = '"><script>alert(1)</script>'
    row = job(State.SCHEDULED, name=evil, queue=evil)
    assert "<script>alert" not in operator.get(page(row.pk, of="adjust")).text
    assert "<script>alert" not in send(row, queue=evil + ",", run_at=evil, priority=evil).text


def test_giving_up_a_job_leads_back_to_its_page_which_names_the_operator(operator, page, job):
    row = job(State.RETRYING, error_fingerprint="c1")
    assert "Give up 1 retrying job?" in operator.get(page(row.pk, of="give_up")).text
    response = operator.post(page(row.pk, of="give_up"), {"confirmed": "yes"})
    assert (response.url, said(response)) == (page(row.pk, of="change"), ["1 job given up."])
    name = response.wsgi_request.user.get_username()
    text = operator.get(response.url).text
    assert f"Given up by {name}.\n\nConnectionError: the server hung up" in text
    assert DelayedJob.objects.failed().get().error_fingerprint == "c1"
    [entry] = LogEntry.objects.all()
    assert (entry.change_message, entry.user.get_username()) == (f"give_up: 1 of 1: {row.pk}", name)


def test_retrying_jobs_are_given_up_in_the_list(operator, page, job):
    rows = [job(State.RETRYING), job(State.RETRYING), job(State.SCHEDULED)]
    chosen = {"action": "give_up", "confirmed": "yes", "_selected_action": [row.pk for row in rows]}
    response = operator.post(page(), chosen)
    assert said(response) == ["2 given up, 1 skipped: only retrying jobs can be given up."]
    assert DelayedJob.objects.failed().count() == 2


def test_the_causes_show_the_error_of_a_job_that_was_given_up(operator, cause_page, job):
    text = 'E: no\n\nTraceback (most recent call last):\n  File "/srv/shop/feed.py", line 7, in fetch\nE: no'
    job(State.RETRYING, last_error=text, error_fingerprint="c1")
    assert DelayedJob.objects.give_up("ann") == 1
    [line] = operator.get(cause_page()).context["lines"]
    assert "feed.py" in line.frame
    assert "Given up by ann." in "".join(line.error_texts)
