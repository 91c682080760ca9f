"""The pages of the admin in Arabic, which is written from right to left."""

from datetime import timedelta

import pytest
from django_delayed.states import State
from playwright.sync_api import expect
from tests.playground.browser import chromium, open_tab, scripts

__all__ = ["chromium", "open_tab", "scripts"]

pytestmark = pytest.mark.browser

# The right edge of the text, not that of its element.
RIGHT_EDGE = """element => {
    const range = document.createRange();
    range.selectNodeContents(element);
    return Math.max(...[...range.getClientRects()].map(rect => rect.right));
}"""


@pytest.fixture
def arabic(open_tab, operator):
    """A tab of an operator who reads Arabic, on a phone."""
    tab = open_tab(operator)
    tab.set_extra_http_headers({"accept-language": "ar"})
    tab.set_viewport_size({"width": 320, "height": 640})
    return tab


def test_the_pages_are_right_to_left_and_fit_on_a_phone(
    arabic, page, cause_page, queue_page, job, failed_attempt, minute
):
    row = job(queue="q" * 255, error_fingerprint="c1", last_error="x" * 500)
    job(State.ENQUEUED)
    failed_attempt(row)
    minute(timedelta(minutes=5), processed=10**9, failed=10**8, waited=1e9, longest=1e6)
    addresses = [
        queue_page(),
        page(),
        page(row.pk, of="change"),
        page(row.pk, of="retry"),
        cause_page(),
        cause_page(of="cause", cause="c1"),
        "/admin/django_delayed/schedule/add/",
    ]
    widths = {}
    for address in addresses:
        arabic.goto(address)
        assert arabic.evaluate("getComputedStyle(document.querySelector('#content')).direction") == "rtl"
        widths[address] = arabic.evaluate("document.documentElement.scrollWidth")
    assert {address: width for address, width in widths.items() if width > 320} == {}


def test_names_are_aligned_right_and_code_is_left_to_right(arabic, page, job):
    row = job()
    arabic.set_viewport_size({"width": 1280, "height": 900})
    arabic.goto(page())
    links = arabic.locator("#result_list .field-what a").all()
    edges = {link.inner_text(): round(link.evaluate(RIGHT_EDGE)) for link in links}
    assert len(edges) == 3
    assert max(edges.values()) - min(edges.values()) <= 1, edges
    arabic.goto(page(row.pk, of="change"))
    text = arabic.locator("pre.delayed-text").first
    expect(text).to_have_css("direction", "ltr")
    expect(text).to_have_css("text-align", "left")
