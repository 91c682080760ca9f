"""Schedules in the admin: the list, the pages, the form, and the actions of an operator."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_delayed import every
from django_delayed.databases import database_now
from django_delayed.features.recurring.schedules import seconds_of
from django_delayed.models import DelayedJob, Schedule, ScheduleRun
from tests.admin.pages import said
from tests.blog import jobs

LIST = "/admin/django_delayed/schedule/"
ADD = f"{LIST}add/"
PLAIN = "tests.blog.jobs:Plain"
VIEW, ADD_ONE, CHANGE, DELETE = (f"{verb}_schedule" for verb in ("view", "add", "change", "delete"))
RUN_NOW, PAUSE, VIEW_JOBS = "run_now_schedule", "pause_schedule", "view_delayedjob"
ALL = (VIEW, ADD_ONE, CHANGE, DELETE, RUN_NOW, PAUSE, VIEW_JOBS)
EVIL = '"><script>alert(1)</script>'
GIVEN = {"name": "clean", "job": PLAIN, "every": "00:05:00", "catch_up": "latest"}


@pytest.fixture
def schedule(db):
    """Write the row of a schedule."""

    def write(**columns):
        given = {"name": "clean", "job": PLAIN, "since": 0}
        if "cron" not in columns:
            given["every"] = timedelta(minutes=5)
        if columns.get("in_code"):
            given["announced_at"] = timezone.now()
        return Schedule.objects.create(**(given | columns))

    return write


@pytest.fixture
def operator(client, staff):
    """Sign in a user with these permissions, by default with all, in the test client."""

    def sign_in(*codenames):
        client.force_login(staff(*(codenames or ALL)))
        return client

    return sign_in


def page(row, name="change"):
    return reverse(f"admin:django_delayed_schedule_{name}", args=[row.pk])


def errors(response):
    return response.context["adminform"].form.errors


def rows():
    return [list(model.objects.order_by("pk").values()) for model in (Schedule, ScheduleRun, DelayedJob)]


# The list.


def test_the_list_shows_the_state_and_the_last_and_next_tick_of_each_schedule(operator, schedule):
    tick = database_now(connection) - timedelta(hours=2)
    schedule(name="nightly <b>", cron="0 3 * * *", zone="Europe/Paris", last_tick=seconds_of(tick))
    schedule(name="often", in_code=True)
    schedule(name="resting", paused=True)
    schedule(name="old", in_code=True, announced_at=timezone.now() - timedelta(minutes=2))
    schedule(name="never announced", in_code=True, announced_at=None)
    text = operator().get(LIST).text
    lines = {line.split("</a>")[0].rpartition(">")[2]: line for line in text.split("</tr>") if "<td" in line}
    assert "<h1>Schedules</h1>" in text
    nightly = next(line for line in text.split("</tr>") if "nightly" in line)
    for words in ("nightly &lt;b&gt;", PLAIN, "0 3 * * * Europe/Paris", ">active<", "2\xa0hours ago", "in "):
        assert words in nightly
    assert lines
    often, resting, old, never = (
        next(line for line in text.split("</tr>") if f">{name} <" in line)
        for name in ("often", "resting", "old", "never announced")
    )
    assert ">active<" in often
    assert "every 0:05:00" in often
    assert "in " in often[often.index("field-next_run") :]
    for line, word in ((resting, "paused"), (old, "gone"), (never, "gone")):
        assert f">{word}<" in line
        assert "<time" not in line[line.index("field-next_run") :]


def test_the_number_of_queries_does_not_depend_on_the_number_of_schedules(operator, schedule):
    client = operator()
    schedule()
    counts = []
    for number in range(2, 12):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            client.get(LIST)
        counts.append(len(queries))
        schedule(name=str(number))
    assert len({*counts[1:]}) == 1


def test_a_schedule_with_invalid_times_is_listed_and_its_page_opens(operator, schedule):
    row = schedule(cron="every day at noon", zone="Mars")
    client = operator()
    assert "every day at noon" in client.get(LIST).text
    assert client.get(page(row)).status_code == 200


# The page of a schedule.


def test_the_page_shows_the_next_five_times_in_the_zone_of_the_schedule(operator, schedule):
    times = operator().get(page(schedule(cron="30 2 * * *", zone="Asia/Tokyo"))).context["next_times"]
    assert len(times) == 5
    assert all(moment.endswith("02:30:00 JST") for moment in times)
    assert len({*times}) == 5


def test_the_pages_show_local_times_in_a_project_without_time_zones(operator, schedule, settings):
    row, client = schedule(cron="30 2 * * *", zone="UTC", last_tick=seconds_of(timezone.now())), operator()
    settings.USE_TZ, settings.TIME_ZONE = False, "Asia/Tokyo"
    times = client.get(page(row)).context["next_times"]
    assert len(times) == 5
    assert all(moment.endswith(" 11:30:00") for moment in times)
    assert client.get(LIST).text.count("<time ") == 2


def test_the_page_shows_the_jobs_that_the_schedule_made(operator, schedule, job):
    row, waiting = schedule(), job(name="Waiting")
    tick = seconds_of(datetime(2026, 5, 1, 12, 0, tzinfo=UTC))
    ScheduleRun.objects.bulk_create(
        ScheduleRun(schedule=row, created_at=timezone.now(), **columns)
        for columns in [
            {"tick": tick, "delayed_job_id": waiting.pk},
            {"tick": tick + 300, "delayed_job_id": waiting.pk + 1},
            {"tick": tick + 600},
            {"tick": None, "delayed_job_id": waiting.pk + 2},
        ]
    )
    text = operator().get(page(row)).text
    body = text[text.index('id="runs"') :]
    by_hand, vetoed, gone, first = body[body.index("<tbody>") :].split("</tr>")[:4]
    assert "run now" in by_hand
    assert "a hook refused it" in vetoed
    assert f"#{waiting.pk + 1}" in gone
    assert "performed or discarded" in gone
    assert "14:00:00 CEST" in first
    assert f'<a href="{reverse("admin:django_delayed_delayedjob_change", args=[waiting.pk])}">' in first
    assert ">failed<" in first
    # A user who may not view jobs sees no link to one.
    other = operator(VIEW).get(page(row)).text
    assert f"#{waiting.pk}" in other
    assert "delayedjob/" not in other


def test_a_schedule_of_the_code_is_shown_and_cannot_be_edited(operator, schedule):
    row, client = schedule(in_code=True, name="shop.jobs:Nightly"), operator()
    response = client.get(page(row))
    assert "It is defined in the code, and can only be changed there." in response.text
    assert 'name="cron"' not in response.text
    assert "_preview" not in response.text
    assert len(response.context["next_times"]) == 5
    before = rows()
    assert client.post(page(row), GIVEN).status_code == 403
    assert client.post(page(row, "delete"), {"post": "yes"}).status_code == 403
    assert rows() == before


def test_a_schedule_of_the_code_can_be_deleted_when_it_is_gone(operator, schedule):
    gone = schedule(in_code=True, announced_at=timezone.now() - timedelta(minutes=2))
    ScheduleRun.objects.create(schedule=gone, tick=5, created_at=timezone.now())
    there = schedule(in_code=True, name="other")
    client = operator()
    assert client.post(page(gone, "delete"), {"post": "yes"}).status_code == 302
    assert not ScheduleRun.objects.exists()
    chosen = {"action": "delete_selected", "_selected_action": [there.pk], "post": "yes"}
    client.post(LIST, chosen)
    assert Schedule.objects.get() == there


# The form.


def test_a_schedule_is_created_with_the_form(operator):
    given = GIVEN | {"args": '[1, {"a": null}]', "kwargs": '{"b": "ä"}', "queue": "nightly", "priority": "-5"}
    response = operator().post(ADD, given)
    assert response.status_code == 302
    row = Schedule.objects.get()
    assert (row.name, row.job, row.every, row.in_code) == ("clean", PLAIN, timedelta(minutes=5), False)
    assert json.loads(row.arguments) == {"args": [1, {"a": None}], "kwargs": {"b": "ä"}}
    assert (row.queue, row.priority, row.paused) == ("nightly", -5, False)
    assert abs(row.since - seconds_of(database_now(connection))) < 60
    assert LogEntry.objects.get().object_id == str(row.pk)


def test_the_form_shows_what_was_saved(operator):
    client = operator()
    given = {"args": [{"@type": "x"}], "kwargs": {"b": 1}}
    client.post(ADD, GIVEN | {name: json.dumps(value) for name, value in given.items()})
    row = Schedule.objects.get()
    form = client.get(page(row)).context["adminform"].form
    assert (form.initial["args"], form.initial["kwargs"]) == ([{"@type": "x"}], {"b": 1})
    before = Schedule.objects.get().arguments
    client.post(page(row), GIVEN | {name: json.dumps(form.initial[name]) for name in given})
    assert Schedule.objects.get().arguments == before


def test_the_button_shows_the_next_times_and_saves_nothing(operator, schedule):
    client = operator()
    given = GIVEN | {"every": "", "cron": "15 4 * * MON", "zone": "UTC", "_preview": "1"}
    response = client.post(ADD, given)
    assert response.status_code == 200
    assert errors(response) == {}
    times = response.context["next_times"]
    assert len(times) == 5
    assert all(moment.endswith("04:15:00 UTC") for moment in times)
    assert all(moment in response.text for moment in times)
    assert not Schedule.objects.exists()
    row = schedule()
    assert client.post(page(row), given).context["next_times"] == times
    assert Schedule.objects.get().every == row.every


def test_a_schedule_with_new_times_does_not_catch_up_on_its_past(operator, schedule):
    row, client = schedule(since=5, last_tick=5, paused=True), operator()
    client.post(page(row), GIVEN | {"name": "other", "queue": "q"})
    changed = Schedule.objects.get()
    assert (changed.name, changed.queue, changed.since) == ("other", "q", 5)
    client.post(page(row), GIVEN | {"every": "00:10:00"})
    changed = Schedule.objects.get()
    assert changed.since > 5
    assert (changed.last_tick, changed.paused) == (5, True)


def test_a_tick_that_comes_while_the_form_is_saved_is_not_overwritten(operator, schedule, monkeypatch):
    row, client = schedule(), operator()
    save = Schedule.save

    def tick_first(self, *args, **options):
        Schedule.objects.update(since=77, last_tick=77)
        save(self, *args, **options)

    monkeypatch.setattr(Schedule, "save", tick_first)
    client.post(page(row), GIVEN | {"queue": "other"})
    changed = Schedule.objects.get()
    assert (changed.queue, changed.since, changed.last_tick) == ("other", 77, 77)


@pytest.mark.parametrize(
    ("given", "field", "sentence"),
    [
        ({"every": ""}, "cron", "Write either a cron expression or an interval."),
        ({"cron": "* * * * *"}, "cron", "Write either a cron expression or an interval."),
        ({"every": "", "cron": "0 3 * *"}, "cron", "five fields"),
        ({"every": "", "cron": "0 0 30 2 *"}, "cron", "is not a cron expression: Bad day-of-month"),
        ({"every": "", "cron": "x" * 300}, "cron", "at most 255 characters"),
        ({"every": "", "cron": "0 3 * * *", "zone": "Mars"}, "zone", "There is no time zone"),
        ({"every": "", "cron": "0 3 * * *", "zone": "../etc/passwd"}, "zone", "There is no time zone"),
        ({"every": "0"}, "every", "must be longer than 0"),
        ({"every": "-5"}, "every", "must not be negative"),
        ({"every": "0.5"}, "every", "whole seconds"),
        ({"every": "40000 00:00:00"}, "every", "at most"),
        ({"every": "soon"}, "every", "Enter a valid duration"),
        ({"name": ""}, "name", "required"),
        ({"name": "a\nb"}, "name", "printable"),
        ({"name": "\0"}, "name", "Null characters"),
        ({"name": "taken"}, "name", "another schedule of this name"),
        ({"job": ""}, "job", "required"),
        ({"job": "os:system"}, "job", "Select a valid choice"),
        ({"job": "tests.blog.jobs:resize"}, "job", "Select a valid choice"),
        ({"job": "django_delayed.mail.jobs:MailJob"}, "job", "Select a valid choice"),
        ({"args": "{}"}, "args", "Write a list"),
        ({"args": "["}, "args", "valid JSON"),
        ({"kwargs": "[]"}, "kwargs", "Write an object"),
        ({"job": "tests.blog.jobs:CleanUpJob"}, "args", "missing a required argument"),
        ({"args": json.dumps(["x" * 1_200_000])}, "args", "at most"),
        ({"queue": "a,b"}, "queue", "must have no comma"),
        ({"queue": "mail*"}, "queue", "none of"),
        ({"priority": str(2**31)}, "priority", "less than or equal"),
        ({"priority": "x"}, "priority", "whole number"),
        ({"catch_up": "some"}, "catch_up", "Select a valid choice"),
    ],
)
def test_invalid_values_are_reported_on_the_form(operator, schedule, given, field, sentence):
    schedule(name="taken")
    response = operator().post(ADD, GIVEN | given)
    assert response.status_code == 200
    assert sentence in " ".join(errors(response)[field])
    assert Schedule.objects.count() == 1


def test_without_cronsim_the_form_says_what_to_install(operator, monkeypatch):
    monkeypatch.setattr("django_delayed.features.recurring.schedules.CronSim", None)
    response = operator().post(ADD, GIVEN | {"every": "", "cron": "0 3 * * *"})
    assert "pip install" in errors(response)["cron"][0]


def test_the_form_keeps_the_name_of_a_job_without_code_and_does_not_save_it(operator, schedule):
    row, client = schedule(job="shop.old:Gone"), operator()
    assert 'value="shop.old:Gone" selected' in client.get(page(row)).text
    response = client.post(page(row), GIVEN | {"job": "shop.old:Gone"})
    assert "shop.old" in errors(response)["args"][0]


# The actions of an operator.


def test_run_now_makes_a_job_and_leaves_the_ticks_unchanged(operator, schedule):
    row, client = schedule(queue="nightly", since=5), operator()
    response = client.post(page(row, "run_now"))
    assert response.url == page(row)
    [job] = DelayedJob.objects.all()
    assert said(response) == [f"clean made the job {job}."]
    assert (job.name, job.queue) == ("Plain", "nightly")
    assert list(ScheduleRun.objects.values_list("schedule", "tick", "delayed_job_id")) == [
        (row.pk, None, job.pk)
    ]
    assert Schedule.objects.get().since == 5
    assert LogEntry.objects.get().change_message == f"run_now: {job}"
    client.post(page(row, "run_now"))
    assert DelayedJob.objects.count() == 2


def test_a_paused_schedule_can_be_run_now(operator, schedule):
    operator().post(page(schedule(paused=True), "run_now"))
    assert DelayedJob.objects.count() == 1


def test_run_now_of_a_schedule_of_the_code_makes_the_job_that_the_code_defines(operator, schedule, settings):
    entry = {"job": "tests.blog.jobs:resize", "args": ["p"], "schedule": every(60)}
    settings.DJANGO_DELAYED = {"RECURRING": {"it": entry}}
    client = operator()
    client.post(page(schedule(name="it", in_code=True), "run_now"))
    assert DelayedJob.objects.get().name == "resize"
    other = schedule(name="of another version", in_code=True)
    response = client.post(page(other, "run_now"))
    assert said(response)[-1] == "of another version made no job: the code of this process does not have it."
    assert DelayedJob.objects.count() == 1


def test_a_schedule_that_cannot_be_run_now_gives_the_reason(operator, schedule, monkeypatch):
    client = operator()
    assert "made no job: " in said(client.post(page(schedule(job="shop.old:Gone"), "run_now")))[-1]
    monkeypatch.setattr(jobs.Plain, "before_enqueue", lambda self: False)
    response = client.post(page(schedule(name="vetoed"), "run_now"))
    assert said(response)[-1] == "vetoed made no job: a hook refused it."
    assert not DelayedJob.objects.exists()


def test_a_schedule_is_paused_and_resumed(operator, schedule):
    row, client = schedule(in_code=True), operator()
    assert said(client.post(page(row, "pause"))) == ["clean is paused."]
    assert Schedule.objects.get().paused
    assert said(client.post(page(row, "pause")))[-1] == "clean was paused already."
    text = client.get(page(row)).text
    assert f'action="{page(row, "resume")}"' in text
    assert f'action="{page(row, "pause")}"' not in text
    assert said(client.post(page(row, "resume")))[-1] == "clean continues at its next time."
    assert said(client.post(page(row, "resume")))[-1] == "clean was not paused."
    resumed = Schedule.objects.get()
    assert not resumed.paused
    assert resumed.since > 0
    assert {*LogEntry.objects.values_list("change_message", flat=True)} == {"pause", "resume"}


@pytest.mark.parametrize("action", ["run_now", "pause", "resume"])
def test_an_action_of_the_list_applies_to_the_chosen_schedules(operator, schedule, action):
    chosen = [schedule(name=str(number), paused=action == "resume") for number in range(3)]
    schedule(name="other", paused=action == "resume")
    operator().post(LIST, {"action": action, "_selected_action": [row.pk for row in chosen]})
    if action == "run_now":
        assert {run.schedule_id for run in ScheduleRun.objects.all()} == {row.pk for row in chosen}
    else:
        changed = Schedule.objects.filter(paused=action == "pause")
        assert [row.pk for row in changed] == [row.pk for row in chosen]


@pytest.mark.parametrize("name", ["run_now", "pause", "resume"])
def test_a_button_needs_a_post_with_a_token_and_an_existing_schedule(operator, schedule, name):
    row, client = schedule(), operator()
    before = rows()
    assert client.get(page(row, name)).status_code == 405
    assert client.post(f"{LIST}{row.pk + 1}/{name}/").status_code == 302
    assert client.post(f"{LIST}nonsense/{name}/").status_code == 302
    assert rows() == before
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies
    assert strict.post(page(row, name)).status_code == 403


# Permissions.

PEOPLE = {
    "nobody": None,
    "staff without permissions": (),
    "a viewer": (VIEW,),
    "somebody who may only run now": (RUN_NOW,),
    "a viewer who may run now": (VIEW, RUN_NOW),
    "a viewer who may pause": (VIEW, PAUSE),
    "somebody who may change": (VIEW, CHANGE),
    "somebody who may add": (VIEW, ADD_ONE),
    "somebody who may delete": (VIEW, DELETE),
    "an operator": ALL,
}
CHANGES = {
    "run_now": (RUN_NOW, lambda client, row: client.post(page(row, "run_now"))),
    "pause": (PAUSE, lambda client, row: client.post(page(row, "pause"))),
    "add": (ADD_ONE, lambda client, row: client.post(ADD, GIVEN | {"name": "new"})),
    "change": (CHANGE, lambda client, row: client.post(page(row), GIVEN | {"queue": "new"})),
    "delete": (DELETE, lambda client, row: client.post(page(row, "delete"), {"post": "yes"})),
    **{
        f"{action} in the list": (
            permission,
            lambda client, row, action=action: client.post(
                LIST, {"action": action, "_selected_action": [row.pk], "post": "yes"}
            ),
        )
        for action, permission in [("run_now", RUN_NOW), ("pause", PAUSE), ("delete_selected", DELETE)]
    },
}


@pytest.fixture(params=PEOPLE)
def person(request, client, staff):
    codenames = PEOPLE[request.param]
    if codenames is not None:
        client.force_login(staff(*codenames))
    client.may = codenames or ()
    return client


def test_only_users_with_the_view_permission_see_schedules(person, schedule):
    row = schedule()
    for address in (LIST, page(row), page(row, "history")):
        assert (person.get(address).status_code == 200) == (VIEW in person.may)
    text = person.get(page(row)).text
    assert (f'action="{page(row, "run_now")}"' in text) == ({VIEW, RUN_NOW} <= {*person.may})
    assert (f'action="{page(row, "pause")}"' in text) == ({VIEW, PAUSE} <= {*person.may})


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_needs_its_permission(person, schedule, change):
    permission, make = CHANGES[change]
    row, before = schedule(), rows()
    make(person, row)
    assert (rows() != before) == ({VIEW, permission} <= {*person.may})


def test_markup_in_the_texts_of_a_schedule_is_escaped(operator, schedule):
    row = schedule(name=EVIL, job=EVIL, cron=EVIL, zone=EVIL, queue=EVIL)
    client = operator()
    texts = [
        client.get(address).text for address in (LIST, page(row), page(row, "delete"), page(row, "history"))
    ]
    texts.append(client.post(page(row, "run_now"), follow=True).text)
    texts.append(operator(VIEW).get(page(row)).text)
    assert all("<script>alert" not in text for text in texts)


@pytest.mark.parametrize("chosen", ["x", "1" * 30, "-1", "\0"])
def test_an_invalid_id_in_an_action_is_refused(operator, schedule, chosen):
    schedule()
    response = operator().post(LIST, {"action": "run_now", "_selected_action": [chosen]})
    assert response.status_code in (302, 400)
    assert not DelayedJob.objects.exists()
