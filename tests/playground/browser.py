"""The admin in a real Chromium."""

import shutil

import pytest
from playwright.sync_api import expect, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
PATIENCE = 60_000  # ms: a busy machine retries 1,400 jobs in more than the five seconds of Playwright
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
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
def scripts():
    """Whether the browser executes scripts."""
    return True


@pytest.fixture
def open_tab(chromium, live_server, scripts):
    """Open a tab for the user who is signed in. The test fails if its console complains or a dialog opens."""
    complaints, contexts = [], []

    def open_for(client):
        context = chromium.new_context(
            base_url=live_server.url, viewport={"width": 1280, "height": 900}, java_script_enabled=scripts
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        context.route("**/favicon.ico", lambda route: route.fulfill(status=204))
        session = client.cookies["sessionid"].value
        context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
        tab = context.new_page()
        tab.add_init_script(REPORT_VIOLATIONS)
        tab.on("console", lambda said: said.type in ("error", "warning") and complaints.append(said.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        return tab

    yield open_for
    for context in contexts:
        context.close()
    assert complaints == [], complaints
