"""The overview and the page of a job show live updates when an operator turns them on."""

import pytest
from django.contrib.auth.models import Permission, User
from django_delayed.models import DelayedJob
from django_delayed.states import State
from playwright.sync_api import expect
from tests.playground.browser import chromium, open_tab, scripts

__all__ = ["chromium", "open_tab", "scripts"]

EVERY = 5000  # milliseconds
EVIL = '"><img src=x onerror=alert(1)>'
DASH = "\N{EN DASH}"


@pytest.fixture
def overview(open_tab, operator, queue_page):
    """A tab with the overview and a stopped clock, and the addresses of its requests for numbers."""
    user = User.objects.get(username__startswith="view_delayedjob")
    user.user_permissions.add(Permission.objects.get(codename="pause_queue"))
    tab = open_tab(operator)
    tab.clock.install()
    tab.goto(queue_page())
    asked = []
    tab.on("request", lambda request: "/numbers/" in request.url and asked.append(request.url))
    return tab, asked


def waiting(tab):
    """The name of each queue in the table, and the number of its waiting jobs."""
    return [
        (row.locator("th").inner_text(), row.locator("td").first.inner_text())
        for row in tab.locator("[data-live-row]").all()
    ]


def passes(tab):
    """Let the time until the next request pass, and wait for the response."""
    with tab.expect_response("**/numbers/**"):
        tab.clock.run_for(EVERY)


@pytest.mark.browser
def test_numbers_change_in_their_rows_and_new_rows_are_only_announced(job, overview):
    job(State.ENQUEUED, queue="mail")
    job(State.ENQUEUED, queue=EVIL)
    tab, asked = overview
    switch, status = tab.get_by_role("button", name="Live updates"), tab.get_by_role("status")
    tab.reload()
    tab.clock.run_for(3 * EVERY)
    expect(switch).to_have_attribute("aria-pressed", "false")
    assert asked == []

    switch.focus()
    tab.keyboard.press("Space")
    expect(switch).to_have_attribute("aria-pressed", "true")
    tab.locator("[data-live-row=mail] td a").first.focus()
    job(State.ENQUEUED, queue="mail")
    job(State.ENQUEUED, queue="images")
    DelayedJob.objects.filter(queue=EVIL).delete()
    passes(tab)
    expect(status).to_have_text("More queues: 1")
    assert waiting(tab) == [(EVIL, DASH), ("mail", "2")]
    assert tab.evaluate("document.activeElement.textContent") == "2"
    expect(tab.locator("[data-live=number-5]")).to_have_text("3")
    tab.get_by_role("link", name="Reload the page").click()
    expect(tab.locator("[data-live-row]")).to_have_count(2)
    assert waiting(tab) == [("images", "1"), ("mail", "2")]
    expect(switch).to_have_attribute("aria-pressed", "true")


@pytest.mark.browser
def test_updates_stop_while_the_page_is_hidden_a_form_is_used_or_the_server_fails(job, overview):
    job(State.ENQUEUED, queue="mail")
    tab, asked = overview
    tab.reload()
    status = tab.get_by_role("status")
    with tab.expect_response("**/numbers/**"):
        tab.get_by_role("button", name="Live updates").click()
    pause, paused = (
        tab.get_by_role("button", name="Pause"),
        tab.get_by_text("Paused while you are at a button or a field"),
    )
    del asked[:]
    for use, leave in [
        (pause.hover, lambda: tab.mouse.move(0, 0)),
        (pause.focus, lambda: pause.blur()),
    ]:
        use()
        tab.clock.run_for(EVERY)
        expect(paused).to_be_visible()
        assert asked == []
        leave()
        passes(tab)
        expect(paused).to_be_hidden()
        del asked[:]
    tab.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    tab.clock.run_for(EVERY)
    tab.evaluate("delete document.hidden")
    assert asked == []

    # A user who is signed out is redirected to the login page, which has no numbers.
    tab.route("**/numbers/**", lambda route: route.fulfill(status=302, headers={"location": "/admin/login/"}))
    tab.clock.run_for(EVERY)
    expect(status).to_have_text("The page stays as it is: the server did not answer as it should.")
    tab.unroute("**/numbers/**")
    job(State.ENQUEUED, queue="mail")
    tab.clock.run_for(3 * EVERY)
    assert len(asked) == 1
    tab.get_by_role("button", name="Go on").click()
    expect(tab.locator("[data-live-row=mail] td").first).to_have_text("2")
    expect(status).to_have_text("")
    expect(tab.get_by_role("button", name="Live updates")).to_be_focused()

    tab.get_by_role("button", name="Live updates").click()
    del asked[:]
    tab.clock.run_for(3 * EVERY)
    assert asked == []


@pytest.mark.browser
def test_the_page_of_a_job_follows_its_state(open_tab, operator, page, job):
    row = job(State.ENQUEUED)
    tab = open_tab(operator)
    tab.clock.install()
    tab.goto(page(row.pk, of="change"))
    said, state = tab.locator("[data-live=progress]"), tab.locator(".delayed-facts .delayed-state")
    expect(said).to_have_text("It has not been performed yet.")
    with tab.expect_response("**/facts/**"):
        tab.get_by_role("button", name="Live updates").click()
    # The whole page is a form of Django's without fields: a pointer on it must not stop the updates.
    said.hover()
    [held] = DelayedJob.objects.claim("w")
    tab.clock.run_for(EVERY)
    expect(said).to_have_text("It is being performed.")
    expect(state).to_have_text("running")
    assert DelayedJob.objects.finish(held)
    tab.clock.run_for(EVERY)
    expect(said).to_have_text(f"The delayed job {row.pk} is gone: it was performed or discarded.")
    asked = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.clock.run_for(3 * EVERY)
    assert asked == []


@pytest.mark.browser
@pytest.mark.parametrize("scripts", [False], ids=["without scripts"])
def test_without_scripts_there_is_no_button_for_live_updates(open_tab, operator, queue_page):
    tab = open_tab(operator)
    tab.goto(queue_page())
    expect(tab.get_by_role("heading", name="Queues")).to_be_visible()
    expect(tab.get_by_text("Live updates")).to_be_hidden()
