import json
from datetime import datetime, timedelta
from pathlib import Path

import django
import pytest
from django.contrib.auth.models import Permission, User
from django.forms import model_to_dict
from django.utils import timezone
from django_delayed.models import (
    DelayedJob,
    FailureGroup,
    Schedule,
    ScheduleRun,
    WorkerProcess,
    WorkerRequest,
)
from django_delayed.states import State
from playwright.sync_api import expect
from tests.playground.browser import chromium, open_tab, scripts
from tests.playground.jobs import Gated, Note
from tests.playground.processes import command, ledger, until, work

from shop.models import Supplier

__all__ = ["chromium", "command", "ledger", "open_tab", "scripts", "work"]

pytestmark = pytest.mark.browser

EVIL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</pre></script><svg onload=alert(1)>",
    "{{ 7|add:42 }}{% now 'Y' %}",
    "\u202egnp.txt",
]
CONTRAST = """element => {
    const rgb = color => color.match(/[\\d.]+/g).map(Number);
    const linear = c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
    const light = color => {
        const [r, g, b] = rgb(color).map(c => linear(c / 255));
        return .2126 * r + .7152 * g + .0722 * b;
    };
    let behind = element;
    while (rgb(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
    const lights = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map(light);
    return (Math.max(...lights) + .05) / (Math.min(...lights) + .05);
}"""


@pytest.fixture
def tab(open_tab, operator):
    """A tab of an operator of jobs."""
    return open_tab(operator)


@pytest.fixture
def workers_tab(open_tab, client, staff):
    """A tab of a user who may view jobs, and view and control workers."""
    client.force_login(staff("view_delayedjob", "view_workerprocess", "control_workerprocess"))
    return open_tab(client)


def lines(tab):
    return tab.locator("#result_list tbody tr")


def test_a_date_alone_filters_the_list(tab, page, job):
    now = timezone.now()
    today, then = timezone.localdate(now), now - timedelta(days=3)
    job(name="Today", run_at=now, failed_at=now, created_at=now)
    job(name="Past", run_at=then, failed_at=then, created_at=then)
    for field in ("run_at", "failed_at", "created_at"):
        tab.goto(page(state="failed"))
        expect(lines(tab)).to_have_count(2)
        form = tab.locator(f"#{field.replace('_', '-')}-form")
        form.locator(f"[name={field}__range__gte_0]").fill(today.isoformat())
        form.locator("[type=submit]").click()
        expect(lines(tab)).to_have_count(1)
        expect(lines(tab)).to_contain_text("Today")
        tab.wait_for_load_state("networkidle")
        assert "state=failed" in tab.url
        assert f"{field}__range__gte_0={today.isoformat()}" in tab.url
        tab.locator(f"#{field.replace('_', '-')}-form [type=reset]").click()
        expect(lines(tab)).to_have_count(2)


def test_the_calendar_works_under_the_content_security_policy(tab, page, job):
    job()
    tab.goto(page(), wait_until="networkidle")  # a script adds the calendar later
    tab.locator("#run-at-form .date-icon").first.click()
    tab.locator(".calendarbox:visible td a").first.click()
    expect(tab.locator("#run-at-form [name=run_at__range__gte_0]")).not_to_have_value("")


@pytest.mark.skipif(django.VERSION < (6, 0), reason="Django 5.2 has no policy of its own")
def test_the_content_security_policy_is_in_force_and_every_tag_has_its_nonce(tab, page, job):
    job()
    response = tab.goto(page())
    policy = response.header_value("content-security-policy")
    assert "'unsafe-inline'" not in policy
    assert "'nonce-" in policy
    assert tab.evaluate("[...document.querySelectorAll('style, script:not([src])')].every(tag => tag.nonce)")


def test_a_failed_job_is_opened_and_retried(tab, page, job, failed_attempt):
    row = job()
    failed_attempt(row)
    tab.goto(page(state="failed"))
    tab.get_by_role("link", name=f"#{row.pk}", exact=True).click()
    expect(tab.get_by_text("send_to_twitter(3, y=4) on shop.post 9", exact=True)).to_be_visible()
    tab.get_by_text("ConnectionError: the server hung up").first.click()
    tab.locator(".object-tools").get_by_role("link", name="Retry").click()
    assert DelayedJob.objects.get().state == State.FAILED
    tab.get_by_role("button", name="Retry 1 job").click()
    expect(tab.locator(".messagelist")).to_contain_text("1 job retried.")
    assert DelayedJob.objects.get().state == State.ENQUEUED


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_a_waiting_job_is_adjusted_and_given_up(tab, page, job):
    row = job(State.RETRYING)
    tab.goto(page(row.pk, of="change"))
    tab.locator(".object-tools").get_by_role("link", name="Change time, queue or priority").click()
    tab.get_by_label("Run at").fill("2020-01-01T09:30")
    tab.get_by_role("button", name="Change 1 job").click()
    expect(tab.locator(".errorlist")).to_contain_text("This time has passed.")
    expect(tab.get_by_label("Run at")).to_have_value("2020-01-01T09:30")
    tab.get_by_label("Run at").fill("2050-01-02T09:30")
    tab.get_by_label("Queue").fill("slow")
    tab.get_by_label("Priority").fill("-5")
    tab.get_by_role("button", name="Change 1 job").click()
    expect(tab.locator(".messagelist")).to_contain_text("1 job changed.")
    expect(tab.locator(".delayed-facts")).to_contain_text("Jan. 2, 2050, 09:30:00")
    then = timezone.make_aware(datetime(2050, 1, 2, 9, 30))
    assert [*DelayedJob.objects.values_list("run_at", "queue", "priority")] == [(then, "slow", -5)]
    tab.locator(".object-tools").get_by_role("link", name="Give up").click()
    tab.get_by_role("button", name="Give up 1 job").click()
    expect(tab.locator(".messagelist")).to_contain_text("1 job given up.")
    expect(tab.locator("#content")).to_contain_text("Given up by ")
    assert DelayedJob.objects.get().state == State.FAILED


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_the_page_of_an_object_links_to_its_jobs_and_they_link_back(tab, page, job):
    supplier = Supplier.objects.create(name="Acme", url="https://acme.example")
    user = User.objects.get(username__startswith="view_delayedjob")
    user.user_permissions.add(Permission.objects.get(codename="view_supplier"))
    row = job(about=f"shop.supplier:{supplier.pk}")
    job(about=f"shop.supplier:{supplier.pk}0")
    tab.goto(f"/admin/shop/supplier/{supplier.pk}/change/")
    tab.locator(".object-tools").get_by_role("link", name="Delayed jobs").click()
    expect(lines(tab)).to_have_count(1)
    # A page that is still loading may move the link before the click.
    with tab.expect_navigation():
        lines(tab).get_by_role("link", name=f"#{row.pk}", exact=True).click()
    tab.locator(".delayed-facts").get_by_role("link", name=row.about, exact=True).click()
    expect(tab.locator("#content")).to_contain_text("https://acme.example")


def test_jobs_chosen_in_the_list_are_discarded(tab, page, job):
    jobs = [job(queue="mail"), job(queue="mail"), job(queue="index")]
    tab.goto(page(queue="mail"))
    tab.locator("#action-toggle").check()
    tab.locator("[name=action]").select_option("discard")
    tab.locator("button[name=index]").click()
    tab.get_by_role("button", name="Discard 2 jobs").click()
    expect(tab.locator(".messagelist")).to_contain_text("2 jobs discarded.")
    assert list(DelayedJob.objects.all()) == jobs[2:]
    assert "queue=mail" in tab.url


def test_declining_the_confirmation_leads_to_the_list_and_changes_nothing(tab, page, job):
    job(queue="mail")
    tab.goto(page(queue="mail"))
    tab.locator("#action-toggle").check()
    tab.locator("[name=action]").select_option("discard")
    tab.locator("button[name=index]").click()
    tab.get_by_role("button", name="No, take me back").click()
    expect(lines(tab)).to_have_count(1)
    assert DelayedJob.objects.exists()


def test_name_queue_and_error_link_to_the_jobs_that_share_them(tab, page, job):
    job(name="Feed.fetch", queue="feeds", error_fingerprint="c1")
    job(name="Feed.fetch", queue="feeds", error_fingerprint="c2")
    job(name="Feed.fetch", queue="slow", error_fingerprint="c3")
    job(State.ENQUEUED, name="Feed.fetch", queue="feeds")
    job(name="Report.build", queue="slow", error_fingerprint="c1")
    tab.goto(page(state="failed"))
    for link, count in [("Feed.fetch", 3), ("feeds", 2), ("ConnectionError: the server hung up", 2)]:
        tab.goto(page(state="failed"))
        lines(tab).last.get_by_role("link", name=link, exact=True).click()
        expect(lines(tab)).to_have_count(count)


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_on_a_phone_the_filters_are_above_the_list_and_collapsed(tab, page, job):
    job(queue="mail")
    job(queue="index")
    tab.set_viewport_size({"width": 320, "height": 640})
    tab.goto(page())
    filters, show = tab.locator("#changelist-filter"), tab.get_by_label("Show the filters")
    expect(filters).to_be_hidden()
    show.focus()
    tab.keyboard.press("Space")
    expect(filters).to_be_visible()
    assert filters.bounding_box()["y"] < tab.locator("#result_list").bounding_box()["y"]
    filters.get_by_role("link", name="mail", exact=True).click()
    expect(lines(tab)).to_have_count(1)
    tab.set_viewport_size({"width": 1280, "height": 640})
    expect(filters).to_be_visible()
    expect(show).to_be_hidden()


@pytest.mark.parametrize("evil", EVIL)
def test_markup_in_the_texts_of_a_job_does_nothing_on_any_page(
    tab, page, cause_page, queue_page, job, failed_attempt, evil
):
    payload = json.dumps({"job": f"a:{evil}", "args": [evil], "kwargs": {evil: evil}})
    error = {"last_error": evil, "error_class": evil, "error_message": evil}
    row = job(name=evil, queue=evil, about=evil, payload=payload, result=evil, **error)
    failed_attempt(row, error=evil, error_class=evil, error_message=evil, worker=evil[:32])
    tab.goto(page())
    expect(lines(tab)).to_contain_text(evil)
    FailureGroup.objects.create(fingerprint="", first_seen_at=timezone.now(), note=evil, noted_by=evil)
    waiting = job(State.RETRYING, name=evil, queue=evil, **error)
    tab.goto(page(waiting.pk, of="adjust"))
    expect(tab.get_by_label("Queue")).to_have_value(evil)
    of_job = [page(row.pk, of=name) for name in ("change", "retry", "discard")]
    of_job.append(page(waiting.pk, of="give_up"))
    of_cause = (cause_page(of=name, cause="none") for name in ("cause", "retry", "discard"))
    for address in [cause_page(), queue_page(), *of_job, *of_cause]:
        tab.goto(address)
        expect(tab.locator("#content")).to_contain_text(evil)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_states_can_be_read_in_light_and_dark(tab, page, job, scheme):
    for state in State:
        job(state)
    tab.emulate_media(color_scheme=scheme)
    tab.goto(page())
    chips = tab.locator("#result_list .delayed-state").all()
    contrasts = {chip.inner_text(): chip.evaluate(CONTRAST) for chip in chips}
    assert set(contrasts) == {state.label for state in State}
    assert {state: contrast for state, contrast in contrasts.items() if contrast < 4.5} == {}


@pytest.mark.parametrize(
    "name", ["changelist", "change", "retry", "adjust", "causes", "cause", "retry of a cause", "overview"]
)
def test_a_page_fits_on_the_screen_of_a_phone(
    tab, page, cause_page, queue_page, job, failed_attempt, minute, name
):
    long = {
        "last_error": "x" * 500,
        "error_message": "y" * 200,
        "error_fingerprint": "c1",
        "queue": "q" * 255,
    }
    row = job(name="Newsletter.send_to_subscribers", **long)
    job(name="Newsletter.send_to_subscribers", **long)
    failed_attempt(row, error="z" * 500, hostname="h" * 255)
    for ago in range(60):
        minute(timedelta(minutes=ago), processed=10**9, failed=10**8, waited=1e9, longest=1e6)
    tab.set_viewport_size({"width": 320, "height": 640})
    of_causes = {
        "overview": queue_page(),
        "causes": cause_page(retrying="too"),
        "cause": cause_page(of="cause", cause="c1"),
        "retry of a cause": cause_page(of="retry", cause="c1"),
    }
    if name == "adjust":
        row = job(State.RETRYING, **long)
    of_job = [row.pk] if name in ("change", "retry", "adjust") else []
    tab.goto(of_causes.get(name) or page(*of_job, of=name))
    assert not of_job or f"/{name}/" in tab.url
    assert tab.evaluate("document.documentElement.scrollWidth") <= 320


class Counted:
    """Counts what an operator does: each click, and each form that is sent."""

    def __init__(self):
        self.actions = 0

    def click(self, locator):
        self.actions += 1
        # A click on a page that is still loading may be lost.
        locator.page.wait_for_load_state()
        locator.click()


@pytest.fixture
def three_causes(job):
    """2,000 failed jobs with three causes."""
    causes = [
        ("ConnectionError", "the server hung up", "Feed.fetch", 1400),
        ("KeyError", "'vat_id'", "Report.build", 500),
        ("ValueError", "no such order", "Order.remind", 100),
    ]
    now = timezone.now()
    for number, (error_class, message, name, count) in enumerate(causes):
        error = {"error_class": error_class, "error_message": message, "last_error": error_class}
        row = job(name=name, queue=f"queue-{number}", error_fingerprint=f"cause-{number}", **error)
        columns = {name: value for name, value in model_to_dict(row).items() if name != "id"}
        columns |= {"created_at": row.created_at}
        moments = [now - timedelta(seconds=n) for n in range(1, count)]
        DelayedJob.objects.bulk_create(DelayedJob(**columns | {"failed_at": moment}) for moment in moments)
    return [name for _, _, name, _ in causes]


def passes():
    """Claim and finish the one job that is ready."""
    [held] = DelayedJob.objects.claim("w")
    assert DelayedJob.objects.finish(held)


def retry_one_then_the_others(tab, hand, name):
    hand.click(tab.get_by_role("row").filter(has_text=name).get_by_role("button", name="Retry one"))
    expect(tab.locator("#content")).to_contain_text("It has not been performed yet.")
    passes()
    hand.click(tab.get_by_role("link", name="Look again"))
    expect(tab.locator("#content")).to_contain_text("It passed.")
    hand.click(tab.get_by_role("link", name="Retry the other"))
    hand.click(tab.get_by_role("button", name="Retry"))
    expect(tab.locator(".messagelist")).to_contain_text("jobs retried.")
    assert not DelayedJob.objects.failed().filter(name=name).exists()
    DelayedJob.objects.enqueued().update(run_at=timezone.now() + timedelta(days=1))


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_three_causes_among_two_thousand_failures_are_dealt_with_in_eleven_actions(tab, three_causes):
    feed, report, order = three_causes
    hand = Counted()
    tab.goto("/admin/")
    hand.click(tab.locator("#content").get_by_role("link", name="Failed jobs by cause"))
    retry_one_then_the_others(tab, hand, feed)
    retry_one_then_the_others(tab, hand, report)
    hand.click(tab.get_by_role("row").filter(has_text=order).get_by_role("link", name="Discard 100 jobs"))
    hand.click(tab.get_by_role("button", name="Discard 100 jobs"))
    expect(tab.locator("#content")).to_contain_text("No job has failed.")
    assert hand.actions == 11
    assert not DelayedJob.objects.filter(name=order).exists()
    assert not DelayedJob.objects.failed().exists()
    assert DelayedJob.objects.waiting().count() == 1898


# The text of the focused element, and whether the focus is visible.
FOCUS = """() => {
    const {outlineStyle, outlineWidth, boxShadow} = getComputedStyle(document.activeElement);
    const isSeen = boxShadow !== "none" || outlineStyle !== "none" && parseFloat(outlineWidth) > 0;
    return [document.activeElement.innerText || document.activeElement.value, isSeen];
}"""


def press(tab, name):
    """Press Tab until the focused element has this name, then press Enter."""
    tab.wait_for_load_state()
    for _ in range(60):
        tab.keyboard.press("Tab")
        text, is_seen = tab.evaluate(FOCUS)
        assert is_seen, text
        if text.startswith(name):
            tab.keyboard.press("Enter")
            return
    raise AssertionError(f"The tab key does not lead to {name!r}.")


def test_a_cause_is_retried_with_the_keyboard_alone(tab, three_causes):
    message = tab.locator(".messagelist")
    tab.goto("/admin/django_delayed/failuregroup/")
    press(tab, "Retry one")
    expect(message).to_contain_text("1 job retried.")
    expect(message).to_be_focused()
    passes()
    press(tab, "Look again")
    expect(tab.locator("#content")).to_contain_text("It passed.")
    press(tab, "Retry the other")
    expect(tab.locator("#content")).to_contain_text("Retry 1399 failed jobs?")
    press(tab, "Retry 1399 jobs")
    expect(message).to_contain_text("1399 jobs retried.")
    expect(message).to_be_focused()


def test_the_errors_of_a_form_get_the_focus(tab, page, job):
    tab.goto(page(job(State.RETRYING).pk, of="adjust"))
    tab.get_by_label("Run at").fill("2020-01-01T09:30")
    tab.get_by_role("button", name="Change 1 job").click()
    expect(tab.locator(".errorlist")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_causes_can_be_read_in_light_and_dark(tab, cause_page, job, scheme):
    job(error_fingerprint="c1")
    tab.emulate_media(color_scheme=scheme)
    tab.goto(cause_page())
    for summary in tab.locator("#content summary").all():
        summary.click()
    words = tab.locator("#content table").locator("th, td, a, button, summary, pre, span").all()
    contrasts = {word.inner_text(): word.evaluate(CONTRAST) for word in words}
    assert "Retry one" in contrasts
    assert {text: contrast for text, contrast in contrasts.items() if contrast < 4.5} == {}


# Workers: a real one, which is watched and controlled in the list only.


def choose(tab, action):
    """Select all workers, and send this action."""
    # A click on a page that is still loading may be lost.
    tab.wait_for_load_state()
    tab.locator("#action-toggle").check()
    tab.locator("[name=action]").select_option(action)
    tab.locator("button[name=index]").click()


def look_until(tab, locator, text):
    """Reload the page until this part of it has the text."""

    def says():
        tab.reload()
        return text in locator.inner_text()

    until(says)


def test_a_worker_is_quieted_resumed_and_stopped_in_the_list(workers_tab, work, ledger):
    tab = workers_tab
    row = Gated.perform_later(str(ledger), str(ledger.gate))
    # A short lease, because a worker writes what it does with its heartbeats.
    run = work("--name", "mailer", delayed={"LEASE": 3})
    ledger.has(f"begin {row.pk}")
    tab.goto("/admin/")
    tab.locator("#content").get_by_role("link", name="Workers", exact=True).click()
    expect(lines(tab)).to_have_count(1)
    expect(lines(tab)).to_contain_text(f"mailer {WorkerProcess.objects.get().hostname}:{run.child}")
    performs = tab.locator(".field-performs")
    look_until(tab, performs, f"Gated #{row.pk}")
    since = datetime.fromisoformat(performs.locator("time").get_attribute("datetime"))
    row.refresh_from_db()
    assert abs(since - row.locked_at) < timedelta(minutes=1)
    assert DelayedJob.objects.running().get() == row

    choose(tab, "quiet")
    expect(tab.locator(".messagelist")).to_contain_text("1 worker was asked to be quiet.")
    look_until(tab, tab.locator(".field-is_quiet"), "quiet")
    note = Note.perform_later(str(ledger), "later")
    ledger.open_gate()
    look_until(tab, tab.locator(".field-processed"), "1")
    assert performs.inner_text().strip() == "1 of 1 slots free"
    assert DelayedJob.objects.enqueued().get() == note

    choose(tab, "resume")
    expect(tab.locator(".messagelist")).to_contain_text("1 worker was asked to go on.")
    ledger.has("later")
    look_until(tab, tab.locator(".field-processed"), "2")
    assert "quiet" not in tab.locator(".field-is_quiet").inner_text()

    choose(tab, "stop")
    expect(tab.locator("#content")).to_contain_text("Stop 1 worker?")
    tab.get_by_role("button", name="No, take me back").click()
    expect(lines(tab)).to_have_count(1)
    assert not WorkerRequest.objects.exists()
    choose(tab, "stop")
    tab.get_by_role("button", name="Stop 1 worker").click()
    expect(tab.locator(".messagelist")).to_contain_text("1 worker was asked to stop.")
    assert run.ends() == 0
    tab.reload()
    expect(lines(tab)).to_have_count(0)


def test_a_job_is_reached_from_the_worker_that_performs_it(workers_tab, worker, job):
    row = job(State.RUNNING)
    WorkerProcess.objects.update(slots=json.dumps([[row.pk, 90]]))
    workers_tab.goto("/admin/django_delayed/workerprocess/")
    workers_tab.locator(".field-performs").get_by_role("link", name=f"{row.name} #{row.pk}").click()
    expect(workers_tab.locator("#content")).to_contain_text(row.about)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_workers_can_be_read_in_light_and_dark_and_on_a_phone(workers_tab, worker, job, scheme):
    row = job(State.RUNNING)
    WorkerProcess.objects.update(slots=json.dumps([[row.pk, 90]]), quiet=True, name="mailer")
    workers_tab.emulate_media(color_scheme=scheme)
    workers_tab.goto("/admin/django_delayed/workerprocess/")
    words = workers_tab.locator("#result_list tbody").locator("td:not(:empty), a, .delayed-about").all()
    contrasts = {word.inner_text(): word.evaluate(CONTRAST) for word in words}
    assert f"{row.name} #{row.pk}" in contrasts
    assert {text: contrast for text, contrast in contrasts.items() if contrast < 4.5} == {}
    workers_tab.set_viewport_size({"width": 320, "height": 640})
    assert workers_tab.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.parametrize("scripts", [False], ids=["without scripts"])
def test_a_cause_gets_a_note_is_downloaded_and_its_retries_are_spread(
    tab, cause_page, job, failed_attempt, client, staff
):
    foreign = '  File "/v/site-packages/a/b.py", line 1, in c\n    d()\n'
    own = '  File "/srv/shop/feed.py", line 7, in fetch\n    get(url)\n'
    text = f"E: no\n\nTraceback (most recent call last):\n{own}{foreign}E: no"
    for _ in range(3):
        failed_attempt(job(error_fingerprint="c1", last_error=text), hostname="web-2")
    user = User.objects.get(username__startswith="view_delayedjob")
    user.user_permissions.add(Permission.objects.get(codename="note_failuregroup"))
    tab.goto(cause_page())
    tab.locator("tbody").get_by_role("link", name="ConnectionError: the server hung up").click()
    content = tab.locator("#content")
    expect(content).to_contain_text("web-2")
    expect(content.get_by_text("site-packages")).to_be_hidden()
    tab.get_by_text("All frames").click()
    expect(content.get_by_text("site-packages")).to_be_visible()
    tab.get_by_role("textbox", name="Note").fill("known")
    tab.get_by_role("button", name="Write the note").click()
    expect(content).to_contain_text("known")
    with tab.expect_download() as download:
        tab.get_by_role("link", name="Download as JSON lines").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert {json.loads(line)["error_fingerprint"] for line in lines} == {"c1"}
    assert len(lines) == 3
    tab.get_by_role("link", name="Retry 3 jobs").click()
    tab.get_by_label("Spread over minutes").fill("30")
    tab.get_by_role("button", name="Retry 3 jobs").click()
    expect(tab.locator(".messagelist")).to_contain_text("3 jobs retried.")
    assert DelayedJob.objects.scheduled().count() == 2


def test_the_count_of_the_last_hour_links_to_the_list_with_the_date_filter_filled_in(tab, cause_page, job):
    job(error_fingerprint="c1")
    job(error_fingerprint="c1", failed_at=timezone.now() - timedelta(hours=5))
    tab.goto(cause_page())
    tab.locator("tbody .delayed-number a").nth(1).click()
    expect(lines(tab)).to_have_count(1)
    form = tab.locator("#failed-at-form")
    expect(form.locator("[name=failed_at__range__gte_0]")).not_to_have_value("")
    expect(form.locator("[name=failed_at__range__gte_1]")).not_to_have_value("")
    form.locator("[type=submit]").click()
    tab.wait_for_load_state("networkidle")
    expect(lines(tab)).to_have_count(1)
    assert "cause=c1" in tab.url


@pytest.fixture
def schedule(db):
    """Write the row of a schedule of an operator, with two runs."""

    def write(**columns):
        given = {"name": "clean", "job": "tests.blog.jobs:Plain", "cron": "0 3 * * *", "since": 0}
        row = Schedule.objects.create(**given | columns)
        ScheduleRun.objects.create(
            schedule=row, tick=1_800_000_000, delayed_job_id=7, created_at=timezone.now()
        )
        ScheduleRun.objects.create(schedule=row, delayed_job_id=8, created_at=timezone.now())
        return row

    return write


SCHEDULES = "/admin/django_delayed/schedule/"


def test_a_schedule_is_previewed_created_run_and_paused(tab):
    tab.goto(f"{SCHEDULES}add/")
    tab.locator("[name=name]").fill("digest")
    tab.locator("[name=job]").select_option("tests.blog.jobs:Plain")
    tab.locator("[name=cron]").fill("0 7 * * MON")
    tab.get_by_role("button", name="Show the next times").click()
    expect(tab.locator(".delayed-times li")).to_have_count(5)
    assert not Schedule.objects.exists()
    tab.locator("[name=_continue]").click()
    expect(tab.locator(".messagelist")).to_contain_text("digest")
    tab.get_by_role("button", name="Run now").click()
    expect(tab.locator(".messagelist")).to_contain_text("Digest made the job Plain #")
    tab.get_by_role("button", name="Pause").click()
    expect(tab.locator(".messagelist")).to_contain_text("Digest is paused.")
    expect(tab.get_by_role("button", name="Resume")).to_be_visible()
    assert DelayedJob.objects.count() == 1
    assert Schedule.objects.get().paused


@pytest.mark.parametrize("evil", EVIL)
def test_markup_in_the_texts_of_a_schedule_does_nothing_on_any_page(tab, schedule, evil):
    row = schedule(
        name=evil, job=evil, queue=evil, zone=evil, arguments=json.dumps({"args": [evil], "kwargs": {}})
    )
    for address in (SCHEDULES, f"{SCHEDULES}{row.pk}/change/"):
        tab.goto(address)
        expect(tab.locator("#content")).to_contain_text(evil)
    tab.goto(f"{SCHEDULES}{row.pk}/delete/")
    expect(tab.locator("#content")).to_contain_text("Are you sure")


@pytest.mark.parametrize("page_of", ["", "add/", "{}/change/"])
def test_a_page_of_schedules_fits_on_the_screen_of_a_phone(tab, schedule, page_of):
    row = schedule(name="Newsletter.send_to_subscribers.of_the_day", zone="America/Argentina/ComodRivadavia")
    tab.set_viewport_size({"width": 320, "height": 640})
    tab.goto(SCHEDULES + page_of.format(row.pk))
    assert tab.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_states_of_schedules_can_be_read_in_light_and_dark(tab, schedule, scheme):
    schedule()
    schedule(name="paused", paused=True)
    schedule(name="gone", in_code=True)
    tab.emulate_media(color_scheme=scheme)
    tab.goto(SCHEDULES)
    chips = tab.locator("#result_list .delayed-state").all()
    contrasts = {chip.inner_text(): chip.evaluate(CONTRAST) for chip in chips}
    assert set(contrasts) == {"active", "paused", "gone"}
    assert {state: contrast for state, contrast in contrasts.items() if contrast < 4.5} == {}


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_a_queue_is_paused_and_resumed(tab, job):
    job(State.ENQUEUED, queue="mail")
    user = User.objects.get(username__startswith="view_delayedjob")
    user.user_permissions.add(Permission.objects.get(codename="pause_queue"))
    tab.goto("/admin/")
    tab.locator("#content").get_by_role("link", name="Overview").click()
    expect(tab.locator("#content")).to_contain_text("Jobs are due, and no worker claims any.")
    tab.get_by_role("row").filter(has_text="mail").get_by_role("button", name="Pause").click()
    expect(tab.locator("#content")).to_contain_text("just now")
    assert DelayedJob.objects.claim("w") == []
    tab.get_by_role("button", name="Resume").click()
    expect(tab.locator(".messagelist")).to_contain_text("Workers claim jobs of the queue “mail” again.")
    assert len(DelayedJob.objects.claim("w")) == 1
