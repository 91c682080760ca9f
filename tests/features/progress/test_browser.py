"""The page of a job's progress in a real browser, under a strict content security policy."""

from datetime import timedelta

import pytest
from django.utils import timezone
from django_delayed.models import DelayedJob, Progress
from django_delayed.states import State
from django_delayed.urls import progress_url
from playwright.sync_api import expect
from tests.playground.browser import PATIENCE, REPORT_VIOLATIONS, chromium

__all__ = ["chromium"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def open_page(chromium, live_server, settings):
    """Open a page without cookies. The test fails if the browser's console has an error or a warning."""
    settings.MIDDLEWARE = ["tests.features.progress.policy.StrictPolicy", *settings.MIDDLEWARE]
    contexts, complaints = [], []

    def open_in_tab(path, scripts=True):
        context = chromium.new_context(base_url=live_server.url, java_script_enabled=scripts)
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        context.route("**/favicon.ico", lambda route: route.fulfill(status=204))
        tab = context.new_page()
        tab.add_init_script(REPORT_VIOLATIONS)
        tab.clock.install()
        tab.on("console", lambda said: said.type in ("error", "warning") and complaints.append(said.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(path)
        return tab

    yield open_in_tab
    for context in contexts:
        context.close()
    # The browser logs each request that gets no answer, or one with an error, as of a row that is gone (410).
    assert [text for text in complaints if "Failed to load resource" not in text] == []


def say(row, done, total=None, note=""):
    columns = {"done": done, "total": total, "note": note, "updated_at": timezone.now()}
    Progress.objects.update_or_create(pk=row.pk, defaults=columns)


def test_the_page_follows_the_job_without_being_loaded_again(job, open_page):
    row = job(State.ENQUEUED)
    tab = open_page(progress_url(row))
    expect(tab.get_by_role("status")).to_have_text("It waits for its turn.")
    expect(tab.get_by_text("Look again")).to_be_hidden()
    tab.evaluate("window.isTheSame = true")
    bar = tab.get_by_role("progressbar", name="Progress")

    DelayedJob.objects.filter(pk=row.pk).update(locked_at=timezone.now(), locked_by="w", attempts=1)
    expect(tab.get_by_role("status")).to_have_text("It is in progress.")
    assert bar.get_attribute("value") is None
    say(row, 1200, 5000, "<img src=x onerror=alert(1)>")
    expect(tab.get_by_text("1,200 of 5,000").last).to_be_visible()
    expect(tab.get_by_text("<img src=x onerror=alert(1)>")).to_be_visible()
    assert bar.get_attribute("value") == "0.24"

    columns = {"locked_at": None, "locked_by": "", "finished_at": timezone.now(), "keep_for": timedelta(1)}
    DelayedJob.objects.filter(pk=row.pk).update(**columns)
    expect(tab.get_by_role("status")).to_have_text("It is done.")
    assert bar.get_attribute("value") == "1"
    assert tab.evaluate("window.isTheSame")


def test_the_page_says_when_the_row_is_gone_and_stops_asking(job, open_page):
    row = job(State.RUNNING, 1, 2)
    tab = open_page(progress_url(row))
    asked = []
    tab.on("request", lambda request: asked.append(request.url))
    row.delete()
    expect(tab.get_by_role("status")).to_have_text("It has ended, and no record of it is kept.")
    number = len(asked)
    tab.clock.run_for(120_000)
    assert len(asked) == number


def test_a_hidden_page_asks_nothing(job, open_page):
    row = job(State.RUNNING, 1, 2)
    tab = open_page(progress_url(row))
    tab.evaluate("Object.defineProperty(document, 'hidden', {get: () => window.away, configurable: true})")
    tab.evaluate("window.away = true")
    say(row, 2, 2)
    asked = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.clock.run_for(120_000)
    assert asked == []
    tab.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    expect(tab.get_by_text("2 of 2").last).to_be_visible()


@pytest.mark.parametrize(
    "fail",
    [
        lambda route: route.fulfill(status=200, body="<html>"),
        lambda route: route.fulfill(status=502, body="Bad Gateway"),
        lambda route: route.abort(),
    ],
    ids=["invalid", "refused", "cut off"],
)
def test_the_page_asks_again_after_a_request_that_failed(job, open_page, fail):
    row = job(State.RUNNING, 1, 2)
    tab = open_page(progress_url(row))
    failures = iter(range(2))
    tab.route(
        "**/jobs/progress/**",
        lambda route: route.continue_() if next(failures, None) is None else fail(route),
    )
    say(row, 2, 2)
    for _ in range(3):
        tab.clock.run_for(60_000)
    expect(tab.get_by_text("2 of 2").last).to_be_visible()


def test_without_scripts_a_link_reloads_the_page(job, open_page):
    row = job(State.RUNNING, 1, 4)
    tab = open_page(progress_url(row), scripts=False)
    expect(tab.get_by_text("1 of 4").last).to_be_visible()
    say(row, 3, 4)
    tab.get_by_role("link", name="Look again").click()
    expect(tab.get_by_text("3 of 4").last).to_be_visible()
