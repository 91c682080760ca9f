import json
import shutil
from datetime import timedelta

import django
import pytest
from django.forms import model_to_dict
from django.utils import timezone
from django_delayed.models import DelayedJob
from django_delayed.states import State
from playwright.sync_api import expect, sync_playwright

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
PATIENCE = 60_000  # ms: a busy machine retries 1,400 jobs in more than the five seconds of Playwright
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
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
REPORT_VIOLATIONS = """document.addEventListener("securitypolicyviolation", event => {
    console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`);
});"""


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip("no chromium is installed")
    # Playwright keeps an event loop in this thread, and Django refuses the database there.
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        expect.set_options(timeout=PATIENCE)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium, live_server, operator):
    """A tab of an operator who is signed in. The test fails if its console complains or a dialog opens."""
    context = chromium.new_context(base_url=live_server.url, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)
    context.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    session = operator.cookies["sessionid"].value
    context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
    complaints = []
    tab = context.new_page()
    tab.add_init_script(REPORT_VIOLATIONS)
    tab.on("console", lambda said: said.type in ("error", "warning") and complaints.append(said.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    yield tab
    context.close()
    assert complaints == []


def lines(tab):
    return tab.locator("#result_list tbody tr")


def test_a_date_alone_filters_the_list(tab, page, job):
    today = timezone.localdate()
    then = timezone.now() - timedelta(days=3)
    job(name="Today")
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


def test_the_calendar_works_under_the_policy(tab, page, job):
    job()
    tab.goto(page(), wait_until="networkidle")  # the calendar comes after the page
    tab.locator("#run-at-form .date-icon").first.click()
    tab.locator(".calendarbox:visible td a").first.click()
    expect(tab.locator("#run-at-form [name=run_at__range__gte_0]")).not_to_have_value("")


@pytest.mark.skipif(django.VERSION < (6, 0), reason="Django 5.2 has no policy of its own")
def test_the_policy_is_in_force_and_every_nonce_filled(tab, page, job):
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
    tab.get_by_role("link", name="Post.send_to_twitter").click()
    expect(tab.get_by_text("send_to_twitter(3, y=4) on shop.post 9", exact=True)).to_be_visible()
    tab.get_by_text("ConnectionError: the server hung up").first.click()
    tab.locator(".object-tools").get_by_role("link", name="Retry").click()
    assert DelayedJob.objects.get().state == State.FAILED
    tab.get_by_role("button", name="Retry 1 job").click()
    expect(tab.locator(".messagelist")).to_contain_text("1 job retried.")
    assert DelayedJob.objects.get().state == State.ENQUEUED


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


def test_taking_back_leads_to_the_list_and_changes_nothing(tab, page, job):
    job(queue="mail")
    tab.goto(page(queue="mail"))
    tab.locator("#action-toggle").check()
    tab.locator("[name=action]").select_option("discard")
    tab.locator("button[name=index]").click()
    tab.get_by_role("button", name="No, take me back").click()
    expect(lines(tab)).to_have_count(1)
    assert DelayedJob.objects.exists()


@pytest.mark.parametrize("evil", EVIL)
def test_what_a_job_says_does_nothing_on_any_page(tab, page, job, failed_attempt, evil):
    payload = json.dumps({"job": f"a:{evil}", "args": [evil], "kwargs": {evil: evil}})
    error = {"last_error": evil, "error_class": evil, "error_message": evil}
    row = job(name=evil, queue=evil, about=evil, payload=payload, result=evil, **error)
    failed_attempt(row, error=evil, error_class=evil, error_message=evil, worker=evil[:32])
    tab.goto(page())
    expect(lines(tab)).to_contain_text(evil)
    for address in [page(of="causes"), *(page(row.pk, of=name) for name in ("change", "retry", "discard"))]:
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


@pytest.mark.parametrize("name", ["changelist", "change", "retry", "causes"])
def test_a_page_fits_on_the_screen_of_a_phone(tab, page, job, failed_attempt, name):
    row = job(name="Newsletter.send_to_subscribers", last_error="x" * 500, error_message="y" * 200)
    failed_attempt(row, error="z" * 500)
    tab.set_viewport_size({"width": 320, "height": 640})
    tab.goto(page(*([row.pk] if name in ("change", "retry") else []), of=name))
    assert tab.evaluate("document.documentElement.scrollWidth") <= 320


class Counted:
    """Counts what an operator does: each click, and each form that is sent."""

    def __init__(self):
        self.actions = 0

    def click(self, locator):
        self.actions += 1
        locator.click()


@pytest.fixture
def three_causes(job):
    """2,000 failed jobs; their errors have three causes."""
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
    """A worker performs the one job that is ready."""
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


def test_three_causes_among_two_thousand_failures_are_dealt_with_in_fifteen_actions(tab, three_causes):
    feed, report, order = three_causes
    hand = Counted()
    tab.goto("/admin/")
    hand.click(tab.locator("#content").get_by_role("link", name="Delayed jobs", exact=True).last)
    hand.click(tab.get_by_role("link", name="Failed jobs by cause"))
    retry_one_then_the_others(tab, hand, feed)
    retry_one_then_the_others(tab, hand, report)
    hand.click(tab.get_by_role("row").filter(has_text=order).get_by_role("link", name="Discard 100 jobs"))
    hand.click(tab.get_by_role("button", name="Discard 100 jobs"))
    expect(tab.locator("#content")).to_contain_text("No job has failed.")
    assert hand.actions <= 15
    assert not DelayedJob.objects.filter(name=order).exists()
    assert not DelayedJob.objects.failed().exists()
    assert DelayedJob.objects.waiting().count() == 1898


def test_a_cause_is_retried_with_the_keyboard_alone(tab, three_causes):
    tab.goto("/admin/django_delayed/delayedjob/causes/")
    for key, said in [("Retry one", "1 job retried."), ("Look again", "It has not been performed yet.")]:
        tab.locator("button, a").filter(has_text=key).first.focus()
        tab.keyboard.press("Enter")
        expect(tab.locator("#container")).to_contain_text(said)
    passes()
    tab.reload()
    tab.get_by_role("link", name="Retry the other").focus()
    tab.keyboard.press("Enter")
    expect(tab.locator("#content")).to_contain_text("Retry 1399 failed jobs?")
    tab.get_by_role("button", name="Retry 1399 jobs").focus()
    tab.keyboard.press("Enter")
    expect(tab.locator(".messagelist")).to_contain_text("1399 jobs retried.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_causes_can_be_read_in_light_and_dark(tab, page, job, scheme):
    job(error_fingerprint="c1")
    tab.emulate_media(color_scheme=scheme)
    tab.goto(page(of="causes"))
    words = tab.locator("#content table").locator("th, td, a, button, .delayed-about").all()
    contrasts = {word.inner_text(): word.evaluate(CONTRAST) for word in words}
    assert "Retry one" in contrasts
    assert {text: contrast for text, contrast in contrasts.items() if contrast < 4.5} == {}
